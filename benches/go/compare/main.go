// Go's side of ../../compare: one case in one process.
//
//	compare CASE N
//
// prints its figures, or "none: " and why there are none. The cases are those of ../../common, by
// the names in ../../compare/spec.rs.
package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

func ceil(n, by int) int { return (n + by - 1) / by }

// per prints the nanoseconds of one operation.
func per(took time.Duration, n int) {
	fmt.Println(float64(took.Nanoseconds()) / float64(n))
}

// numbers reads the numbers after the prefix: "a_b" are two.
func numbers(name, prefix string) (first, second int) {
	fmt.Sscanf(strings.TrimPrefix(name, prefix), "%d_%d", &first, &second)
	return
}

func main() {
	name := os.Args[1]
	n, _ := strconv.Atoi(os.Args[2])
	switch name {
	case "nothing":
	case "ctx_switch":
		per(stream(n, 0), n)
	case "ping_pong":
		per(pingPong(n), n)
	case "ring":
		per(ring(n), 1000*ceil(n, 1000))
	case "yield":
		per(among(100, n, func(each int) {
			for range each {
				runtime.Gosched()
			}
		}), 100*ceil(n, 100))
	case "spawn_join":
		per(spawnJoin(n), n)
	case "skynet":
		leaves := 1
		for leaves*10 <= n {
			leaves *= 10
		}
		per(skynet(leaves), leaves)
	case "sieve":
		per(sieve(n)/1000, n)
	case "wake_outside":
		fmt.Println("none: has no threads to wake from")
	case "fan_in":
		per(crowd(n, 16, 100, 1), 100*ceil(n, 100))
	case "close":
		per(closeWakes(n), n)
	case "mutex_8":
		per(mutex(n), n)
	case "rwmutex_8":
		per(rwmutex(n), n)
	case "cond":
		per(cond(ceil(n, 5)), ceil(n, 5))
	case "pool_8":
		per(pool(n), n)
	case "sleepers":
		per(sleepers(n), n)
	case "beside_hogs", "beside_blocker", "beside_ping_pong":
		fmt.Println(late(name, n))
	case "clock":
		clock(n)
	case "idle":
		fmt.Println(idle(n))
	default:
		switch {
		case strings.HasPrefix(name, "spsc_"):
			capacity, _ := numbers(name, "spsc_")
			per(stream(n, capacity), n)
		case strings.HasPrefix(name, "mpmc_"):
			capacity, _ := numbers(name, "mpmc_")
			per(crowd(n, capacity, 4, 4), 4*ceil(n, 4))
		case strings.HasPrefix(name, "select_"):
			of, stoppable := strings.CutSuffix(name, "_stop")
			channels, capacity := numbers(of, "select_")
			per(selects(n, channels, capacity, stoppable), channels*ceil(n, channels))
		case strings.HasPrefix(name, "parked_"):
			fmt.Println(parked(n))
		default:
			fmt.Println("none: has no such case")
		}
	}
}

// among divides the operations among this many goroutines.
func among(goroutines, n int, body func(each int)) time.Duration {
	var group sync.WaitGroup
	start := time.Now()
	for range goroutines {
		group.Go(func() { body(ceil(n, goroutines)) })
	}
	group.Wait()
	return time.Since(start)
}

func stream(n, capacity int) time.Duration {
	c := make(chan int, capacity)
	done := make(chan struct{})
	start := time.Now()
	go func() {
		for i := range n {
			c <- i
		}
	}()
	go func() {
		for i := range n {
			if <-c != i {
				panic("out of order")
			}
		}
		close(done)
	}()
	<-done
	return time.Since(start)
}

func pingPong(n int) time.Duration {
	there, back := make(chan int), make(chan int)
	go pass(there, back)
	return rounds(n, there, back)
}

func ring(n int) time.Duration {
	first := make(chan int)
	last := first
	for range 999 {
		to := make(chan int)
		go pass(last, to)
		last = to
	}
	return rounds(ceil(n, 1000), first, last)
}

func pass(from <-chan int, to chan<- int) {
	for v := range from {
		to <- v
	}
}

func rounds(n int, first chan<- int, last <-chan int) time.Duration {
	done := make(chan struct{})
	start := time.Now()
	go func() {
		for i := range n {
			first <- i
			<-last
		}
		close(done)
	}()
	<-done
	return time.Since(start)
}

func spawnJoin(n int) time.Duration {
	var group sync.WaitGroup
	group.Add(n)
	start := time.Now()
	for range n {
		go group.Done()
	}
	group.Wait()
	return time.Since(start)
}

func node(up chan<- int, number, leaves int) {
	if leaves == 1 {
		up <- number
		return
	}
	c := make(chan int)
	for i := range 10 {
		go node(c, number+i*(leaves/10), leaves/10)
	}
	sum := 0
	for range 10 {
		sum += <-c
	}
	up <- sum
}

func skynet(leaves int) time.Duration {
	c := make(chan int)
	start := time.Now()
	go node(c, 0, leaves)
	if <-c != leaves*(leaves-1)/2 {
		panic("a leaf is missing")
	}
	return time.Since(start)
}

func sieve(n int) time.Duration {
	start := time.Now()
	from := make(chan int)
	numbers := from
	go func() {
		for i := 2; ; i++ {
			numbers <- i
		}
	}()
	for range n {
		prime := <-from
		in, out := from, make(chan int)
		go func() {
			for v := range in {
				if v%prime != 0 {
					out <- v
				}
			}
		}()
		from = out
	}
	return time.Since(start)
}

func crowd(n, capacity, producers, consumers int) time.Duration {
	c := make(chan int, capacity)
	var sent, received sync.WaitGroup
	start := time.Now()
	for range producers {
		sent.Go(func() {
			for i := range ceil(n, producers) {
				c <- i
			}
		})
	}
	for range consumers {
		received.Go(func() {
			for range c {
			}
		})
	}
	sent.Wait()
	close(c)
	received.Wait()
	return time.Since(start)
}

func closeWakes(n int) time.Duration {
	c := make(chan int)
	var ready, woken sync.WaitGroup
	ready.Add(n)
	woken.Add(n)
	for range n {
		go func() {
			ready.Done()
			<-c
			woken.Done()
		}()
	}
	ready.Wait()
	start := time.Now()
	close(c)
	woken.Wait()
	return time.Since(start)
}

func selects(n, channels, capacity int, stoppable bool) time.Duration {
	each := ceil(n, channels)
	c := make([]chan int, channels)
	stop, done := make(chan struct{}), make(chan struct{})
	start := time.Now()
	for i := range c {
		c[i] = make(chan int, capacity)
		to := c[i]
		go func() {
			if !stoppable {
				for i := range each {
					to <- i
				}
				return
			}
			for i := range each {
				select {
				case to <- i:
				case <-stop:
					return
				}
			}
		}()
	}
	go func() {
		receive(c, channels*each)
		close(done)
	}()
	<-done
	return time.Since(start)
}

func receive(c []chan int, n int) {
	switch len(c) {
	case 2:
		for range n {
			select {
			case <-c[0]:
			case <-c[1]:
			}
		}
	case 4:
		for range n {
			select {
			case <-c[0]:
			case <-c[1]:
			case <-c[2]:
			case <-c[3]:
			}
		}
	default:
		for range n {
			select {
			case <-c[0]:
			case <-c[1]:
			case <-c[2]:
			case <-c[3]:
			case <-c[4]:
			case <-c[5]:
			case <-c[6]:
			case <-c[7]:
			case <-c[8]:
			case <-c[9]:
			case <-c[10]:
			case <-c[11]:
			case <-c[12]:
			case <-c[13]:
			case <-c[14]:
			case <-c[15]:
			}
		}
	}
}

func mutex(n int) time.Duration {
	var lock sync.Mutex
	count := 0
	return among(8, n, func(each int) {
		for range each {
			lock.Lock()
			count++
			lock.Unlock()
		}
	})
}

func rwmutex(n int) time.Duration {
	var lock sync.RWMutex
	count := 0
	var sink atomic.Int64
	return among(8, n, func(each int) {
		sum := 0
		for i := range each {
			if i%100 == 0 {
				lock.Lock()
				count++
				lock.Unlock()
			} else {
				lock.RLock()
				sum += count
				lock.RUnlock()
			}
		}
		sink.Add(int64(sum))
	})
}

func cond(n int) time.Duration {
	var lock sync.Mutex
	cond := sync.NewCond(&lock)
	var woken sync.WaitGroup
	open, waiting := false, 0
	for range n {
		woken.Go(func() {
			lock.Lock()
			waiting++
			for !open {
				cond.Wait()
			}
			lock.Unlock()
		})
	}
	all := func() bool {
		lock.Lock()
		defer lock.Unlock()
		return waiting == n
	}
	for !all() {
		runtime.Gosched()
	}
	start := time.Now()
	lock.Lock()
	open = true
	lock.Unlock()
	cond.Broadcast()
	woken.Wait()
	return time.Since(start)
}

func pool(n int) time.Duration {
	pool := sync.Pool{New: func() any { return new([1024]byte) }}
	return among(8, n, func(each int) {
		for range each {
			buffer := pool.Get().(*[1024]byte)
			buffer[0]++
			pool.Put(buffer)
		}
	})
}

func sleepers(n int) time.Duration {
	var group sync.WaitGroup
	start := time.Now()
	for i := range n {
		group.Go(func() { time.Sleep(time.Duration(i%100) * time.Millisecond) })
	}
	group.Wait()
	return time.Since(start)
}

func resident() int {
	text, _ := os.ReadFile("/proc/self/statm")
	var size, pages int
	fmt.Sscan(string(text), &size, &pages)
	return pages * os.Getpagesize()
}

func parked(n int) int {
	var never chan int
	before := 0
	// One alone first, so that whatever starts late has started, and the code is resident.
	for _, n := range []int{1, n} {
		var ready sync.WaitGroup
		ready.Add(n)
		before = resident()
		for range n {
			go func() {
				ready.Done()
				<-never
			}()
		}
		ready.Wait()
	}
	return max(resident()-before, 0) / n
}

func beside(what string) {
	switch what {
	case "beside_hogs":
		for range 4 {
			go func() {
				for {
					for start := time.Now(); time.Since(start) < 3*time.Millisecond; {
					}
					runtime.Gosched()
				}
			}()
		}
	case "beside_blocker":
		go func() {
			for {
				// A system call that blocks the thread; time.Sleep would not.
				t := syscall.NsecToTimespec(50e6)
				syscall.Nanosleep(&t, nil)
				runtime.Gosched()
			}
		}()
	case "beside_ping_pong":
		there, back := make(chan int, 1), make(chan int, 1)
		go func() {
			for v := range there {
				back <- v
			}
		}()
		go func() {
			for {
				there <- 0
				<-back
			}
		}()
	}
}

// late returns p50, p99 and p99.9 in microseconds. Go has only its own threads, and one that sends
// needs a processor first; so the clock is another process, and the message comes through a pipe
// that the goroutine waits to read.
func late(what string, n int) string {
	clock := exec.Command(os.Args[0], "clock", strconv.Itoa(n))
	messages, err := clock.StdoutPipe()
	if err == nil {
		err = clock.Start()
	}
	if err != nil {
		return "none: " + err.Error()
	}
	beside(what)
	var all []float64
	var sent [8]byte
	for range n {
		if _, err := io.ReadFull(messages, sent[:]); err != nil {
			return "none: the clock stopped: " + err.Error()
		}
		all = append(all, float64(now()-int64(binary.NativeEndian.Uint64(sent[:])))/1e3)
	}
	slices.Sort(all)
	at := func(share float64) float64 { return all[int(float64(n-1)*share)] }
	return fmt.Sprintln(at(0.5), at(0.99), at(0.999))
}

// clock is the other process: a message carries the time of its sending.
func clock(n int) {
	random := rand.New(rand.NewSource(7))
	var message [8]byte
	for range n {
		time.Sleep(time.Duration(500e3 + random.Int63n(1000e3)))
		binary.NativeEndian.PutUint64(message[:], uint64(now()))
		os.Stdout.Write(message[:])
	}
}

// now is the clock that all processes share, in nanoseconds; the time package's is comparable only
// within one process.
func now() int64 {
	const monotonic = 1
	var t syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, monotonic, uintptr(unsafe.Pointer(&t)), 0)
	return t.Nano()
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func idle(milliseconds int) float64 {
	never := make(chan int)
	go func() { <-never }()
	time.Sleep(100 * time.Millisecond)
	start, before := time.Now(), cpuTime()
	time.Sleep(time.Duration(milliseconds) * time.Millisecond)
	return float64((cpuTime() - before).Microseconds()) / 1e3 / time.Since(start).Seconds()
}
