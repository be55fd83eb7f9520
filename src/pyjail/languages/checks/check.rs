use std::io::Read;
use std::thread;

fn main() {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).unwrap();
    let mut words = text.split_whitespace();
    match words.next().unwrap() {
        "hello" => println!("hello"),
        "stdin" => println!("{}", words.map(|word| word.parse::<i64>().unwrap()).sum::<i64>()),
        "exception" => panic!("as asked"),
        "memory" => {
            let mut kept = Vec::new();
            loop {
                kept.push(vec![1u8; 1 << 20]);
            }
        }
        "threads" => {
            let threads: Vec<_> = (0..4).map(|_| thread::spawn(|| (0..1000i64).sum::<i64>())).collect();
            println!("{}", threads.into_iter().map(|one| one.join().unwrap()).sum::<i64>());
        }
        "cpus" => println!("{}", thread::available_parallelism().unwrap()),
        _ => {}
    }
}
