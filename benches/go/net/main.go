// Go's servers of ../../sockets, with GOMAXPROCS processors.
//
//	net KIND
//
// prints its port, serves until its standard input ends, then prints what it measured. The kinds
// are those of ../../sockets/serve.rs.
package main

import (
	"fmt"
	"io"
	"math/bits"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync/atomic"
	"time"
)

func main() {
	kind := os.Args[1]
	room := 1024
	switch kind {
	case "mem":
		room = 128
	case "hogs", "yields":
		for range 4 {
			go hog()
		}
	case "pingpong":
		pingPong()
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	go serve(listener, kind, room)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	io.Copy(io.Discard, os.Stdin)
	roundTrips.print()
}

func serve(listener net.Listener, kind string, room int) {
	if kind == "http" {
		hello := func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello, world") }
		http.Serve(listener, http.HandlerFunc(hello))
		return
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		if kind == "accept" {
			go greet(conn)
		} else {
			go echo(conn, room)
		}
	}
}

func echo(conn net.Conn, room int) {
	defer conn.Close()
	defer roundTrips.over.Store(true)
	buffer := make([]byte, room)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		if !roundTrips.open.Load() {
			roundTrips.open.Store(true)
		}
		if _, err := conn.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func greet(conn net.Conn) {
	defer conn.Close()
	if _, err := conn.Write([]byte{1}); err == nil {
		conn.Read(make([]byte, 1))
	}
}

func hog() {
	for {
		for start := time.Now(); time.Since(start) < 100*time.Microsecond; {
		}
		runtime.Gosched()
	}
}

func pingPong() {
	ping, pong := make(chan int, 1), make(chan int, 1)
	go func() {
		for value := range ping {
			pong <- value
		}
	}()
	go func() {
		for {
			start := time.Now()
			ping <- 1
			<-pong
			roundTrips.record(time.Since(start))
		}
	}()
}

// histogram has sixteen buckets for each power of two, in nanoseconds. One goroutine records.
type histogram struct {
	counts     [1024]atomic.Uint64
	open, over atomic.Bool
}

// roundTrips records the round trips of the ping-pong while messages came.
var roundTrips histogram

func (h *histogram) record(took time.Duration) {
	if !h.open.Load() || h.over.Load() {
		return
	}
	nanos := max(uint64(took), 16)
	power := bits.Len64(nanos) - 1
	count := &h.counts[uint64(power)*16+nanos>>(power-4)%16]
	count.Store(count.Load() + 1)
}

// print returns the microseconds that this share of all samples did not exceed.
func (h *histogram) print() {
	var all uint64
	for i := range h.counts {
		all += h.counts[i].Load()
	}
	if all == 0 {
		return
	}
	for _, share := range []float64{0.5, 0.99, 0.999} {
		left := uint64(float64(all) * share)
		for i := range h.counts {
			if count := h.counts[i].Load(); left >= count {
				left -= count
				continue
			}
			power, step := i/16, i%16
			fmt.Printf("pp%v %v\n", share*100, float64(uint64(16+step)<<(power-4))/1e3)
			break
		}
	}
}
