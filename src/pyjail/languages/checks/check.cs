using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;

static class Check {
    static void Main() {
        switch (Console.ReadLine()) {
            case "hello":
                Console.WriteLine("hello");
                break;
            case "stdin":
                Console.WriteLine(Console.ReadLine().Split(' ').Select(long.Parse).Sum());
                break;
            case "exception":
                throw new InvalidOperationException("as asked");
            case "memory":
                var kept = new List<byte[]>();
                while (true) {
                    var page = new byte[1 << 20];
                    for (int i = 0; i < page.Length; i += 4096) page[i] = 1;
                    kept.Add(page);
                }
            case "threads":
                var sums = new long[4];
                var threads = Enumerable.Range(0, 4).Select(i => new Thread(() => sums[i] = Enumerable.Range(0, 1000).Sum())).ToList();
                threads.ForEach(thread => thread.Start());
                threads.ForEach(thread => thread.Join());
                Console.WriteLine(sums.Sum());
                break;
            case "cpus":
                Console.WriteLine(Environment.ProcessorCount);
                break;
        }
    }
}
