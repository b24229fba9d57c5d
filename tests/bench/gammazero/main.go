// The same work as tests/bench/pool.py, done by github.com/gammazero/workerpool: tasks that do nothing, submitted at
// once to a pool of so many workers and waited for. Prints the nanoseconds that it took.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/gammazero/workerpool"
)

func main() {
	workers, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	tasks, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	nothing := func() {}
	begun := time.Now()
	pool := workerpool.New(workers)
	for range tasks {
		pool.Submit(nothing)
	}
	pool.StopWait()
	fmt.Println(time.Since(begun).Nanoseconds())
}
