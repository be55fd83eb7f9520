package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
)

func main() {
	in := bufio.NewReader(os.Stdin)
	var mode string
	fmt.Fscan(in, &mode)
	switch mode {
	case "hello":
		fmt.Println("hello")
	case "stdin":
		sum, number := 0, 0
		for {
			if _, err := fmt.Fscan(in, &number); err != nil {
				break
			}
			sum += number
		}
		fmt.Println(sum)
	case "exception":
		panic("as asked")
	case "memory":
		var kept [][]byte
		for {
			page := make([]byte, 1<<20)
			for i := range page {
				page[i] = 1
			}
			kept = append(kept, page)
		}
	case "threads":
		sums := make(chan int)
		for i := 0; i < 4; i++ {
			go func() {
				sum := 0
				for j := 0; j < 1000; j++ {
					sum += j
				}
				sums <- sum
			}()
		}
		fmt.Println(<-sums + <-sums + <-sums + <-sums)
	case "cpus":
		fmt.Println(runtime.GOMAXPROCS(0))
	}
}
