// The cases of ../channels.rs, ../select.rs and ../executor.rs in Go, by the same names:
//
//	go test -bench . -cpu 1,2
//
// One operation is what it is there: a message, a hop, a round trip, a leaf, a goroutine.
package bench

import (
	"runtime"
	"sync"
	"testing"
)

// streams runs pairs of one sender and one receiver that do not disturb each other.
func streams(b *testing.B, capacity, pairs int) {
	each := (b.N + pairs - 1) / pairs
	var done sync.WaitGroup
	done.Add(pairs)
	b.ResetTimer()
	for p := 0; p < pairs; p++ {
		c := make(chan int, capacity)
		go func() {
			for i := 0; i < each; i++ {
				c <- i
			}
		}()
		go func() {
			defer done.Done()
			for i := 0; i < each; i++ {
				if v := <-c; v != i {
					panic("out of order")
				}
			}
		}()
	}
	done.Wait()
}

func BenchmarkCtxSwitch(b *testing.B) { streams(b, 0, 1) }
func BenchmarkSpsc128(b *testing.B)   { streams(b, 128, 1) }
func BenchmarkChanSync(b *testing.B)  { streams(b, 0, 2) }

func BenchmarkPingPong(b *testing.B) {
	there, back := make(chan int), make(chan int)
	go func() {
		for v := range there {
			back <- v
		}
	}()
	done := make(chan struct{})
	b.ResetTimer()
	go func() {
		for i := 0; i < b.N; i++ {
			there <- i
			<-back
		}
		close(done)
	}()
	<-done
	close(there)
}

func BenchmarkRing(b *testing.B) {
	const size = 1000
	first := make(chan int)
	last := first
	for i := 1; i < size; i++ {
		next := make(chan int)
		go func(from, to chan int) {
			for v := range from {
				to <- v
			}
			close(to)
		}(last, next)
		last = next
	}
	rounds := (b.N + size - 1) / size
	b.ResetTimer()
	for i := 0; i < rounds; i++ {
		first <- i
		<-last
	}
	b.StopTimer()
	close(first)
}

func BenchmarkChanNonblocking(b *testing.B) {
	c := make(chan int)
	for i := 0; i < b.N; i++ {
		select {
		case <-c:
			panic("no sender")
		default:
		}
	}
}

func BenchmarkChanUncontended(b *testing.B) {
	const room = 100
	c := make(chan int, room)
	rounds := (b.N + room - 1) / room
	b.ResetTimer()
	for r := 0; r < rounds; r++ {
		for i := 0; i < room; i++ {
			c <- i
		}
		for i := 0; i < room; i++ {
			<-c
		}
	}
}

// crowd has several senders and several receivers on one channel.
func crowd(b *testing.B, capacity, producers, consumers int) {
	each := (b.N + producers - 1) / producers
	c := make(chan int, capacity)
	var sent, received sync.WaitGroup
	sent.Add(producers)
	received.Add(consumers)
	b.ResetTimer()
	for p := 0; p < producers; p++ {
		go func() {
			defer sent.Done()
			for i := 0; i < each; i++ {
				c <- i
			}
		}()
	}
	for q := 0; q < consumers; q++ {
		go func() {
			defer received.Done()
			for range c {
			}
		}()
	}
	sent.Wait()
	close(c)
	received.Wait()
}

func BenchmarkChanProdCons0(b *testing.B)   { crowd(b, 0, 2, 2) }
func BenchmarkChanProdCons10(b *testing.B)  { crowd(b, 10, 2, 2) }
func BenchmarkChanProdCons100(b *testing.B) { crowd(b, 100, 2, 2) }
func BenchmarkMpmc4x4(b *testing.B)         { crowd(b, 128, 4, 4) }

func node(up chan<- int, number, leaves int) {
	if leaves == 1 {
		up <- number
		return
	}
	c := make(chan int)
	for i := 0; i < 10; i++ {
		go node(c, number+i*(leaves/10), leaves/10)
	}
	sum := 0
	for i := 0; i < 10; i++ {
		sum += <-c
	}
	up <- sum
}

// One operation is one tree of a million leaves.
func BenchmarkSkynet(b *testing.B) {
	const leaves = 1000000
	for r := 0; r < b.N; r++ {
		c := make(chan int)
		go node(c, 0, leaves)
		if <-c != leaves*(leaves-1)/2 {
			panic("a leaf is missing")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/leaves, "ns/leaf")
}

// One operation is one of the goroutines that a close wakes; starting them does not count.
func BenchmarkCloseWakes(b *testing.B) {
	const audience = 100000
	b.StopTimer()
	for left := b.N; left > 0; left -= audience {
		n := min(left, audience)
		c := make(chan struct{})
		var ready, woken sync.WaitGroup
		ready.Add(n)
		woken.Add(n)
		for i := 0; i < n; i++ {
			go func() {
				ready.Done()
				<-c
				woken.Done()
			}()
		}
		ready.Wait()
		runtime.Gosched()
		b.StartTimer()
		close(c)
		woken.Wait()
		b.StopTimer()
	}
}

func passOn(one, two chan int, n int) {
	for i := 0; i < n; i++ {
		select {
		case <-one:
			two <- 0
		case <-two:
			one <- 0
		}
	}
}

func BenchmarkSelectUncontended(b *testing.B) {
	one, two := make(chan int, 1), make(chan int, 1)
	one <- 0
	b.ResetTimer()
	passOn(one, two, b.N)
}

func BenchmarkSelectAsyncContended(b *testing.B) {
	const players = 2
	one, two := make(chan int, players), make(chan int, players)
	var done sync.WaitGroup
	done.Add(players)
	b.ResetTimer()
	for p := 0; p < players; p++ {
		go func() {
			defer done.Done()
			one <- 0
			passOn(one, two, (b.N+players-1)/players)
		}()
	}
	done.Wait()
}

func BenchmarkSelectSyncContended(b *testing.B) {
	const pairs = 2
	x, y, z := make(chan int), make(chan int), make(chan int)
	stop := make(chan struct{})
	var done sync.WaitGroup
	done.Add(pairs)
	b.ResetTimer()
	for p := 0; p < pairs; p++ {
		go func() {
			for {
				select {
				case x <- 0:
				case y <- 0:
				case z <- 0:
				case <-stop:
					return
				}
			}
		}()
		go func() {
			defer done.Done()
			for i := 0; i < (b.N+pairs-1)/pairs; i++ {
				select {
				case <-x:
				case <-y:
				case <-z:
				}
			}
		}()
	}
	done.Wait()
	close(stop)
}

// One operation is four selects.
func BenchmarkSelectNonblock(b *testing.B) {
	empty, full, room := make(chan int, 1), make(chan int, 1), make(chan int, 1)
	full <- 0
	b.ResetTimer()
	for i := 0; i < b.N; i++ {
		select {
		case <-empty:
			panic("it is empty")
		default:
		}
		select {
		case full <- 0:
			panic("it is full")
		default:
		}
		select {
		case room <- 0:
		default:
			panic("it has room")
		}
		select {
		case <-room:
		default:
			panic("it has a value")
		}
	}
}

func select4(b *testing.B, capacity int, stoppable bool) {
	each := (b.N + 3) / 4
	stop := make(chan struct{})
	defer close(stop)
	var c [4]chan int
	for i := range c {
		c[i] = make(chan int, capacity)
	}
	b.ResetTimer()
	for i := range c {
		go func(c chan int) {
			if !stoppable {
				for i := 0; i < each; i++ {
					c <- i
				}
				return
			}
			for i := 0; i < each; i++ {
				select {
				case c <- i:
				case <-stop:
					return
				}
			}
		}(c[i])
	}
	done := make(chan struct{})
	go func() {
		for i := 0; i < 4*each; i++ {
			select {
			case <-c[0]:
			case <-c[1]:
			case <-c[2]:
			case <-c[3]:
			}
		}
		close(done)
	}()
	<-done
	b.StopTimer()
}

func BenchmarkSelect4(b *testing.B)     { select4(b, 0, false) }
func BenchmarkSelect4Stop(b *testing.B) { select4(b, 0, true) }
func BenchmarkSelect4By64(b *testing.B) { select4(b, 64, false) }

func BenchmarkSpawnJoin(b *testing.B) {
	var group sync.WaitGroup
	group.Add(b.N)
	for i := 0; i < b.N; i++ {
		go group.Done()
	}
	group.Wait()
}

func BenchmarkYield(b *testing.B) {
	const crowd = 100
	var done sync.WaitGroup
	done.Add(crowd)
	for g := 0; g < crowd; g++ {
		go func() {
			defer done.Done()
			for i := 0; i < (b.N+crowd-1)/crowd; i++ {
				runtime.Gosched()
			}
		}()
	}
	done.Wait()
}
