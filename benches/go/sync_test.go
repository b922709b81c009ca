// The cases of ../sync.rs in Go.
package bench

import (
	"sync"
	"testing"
)

// among divides the operations among this many goroutines.
func among(b *testing.B, goroutines int, body func(each int)) {
	each := (b.N + goroutines - 1) / goroutines
	var group sync.WaitGroup
	b.ResetTimer()
	for g := 0; g < goroutines; g++ {
		group.Go(func() { body(each) })
	}
	group.Wait()
}

func mutex(b *testing.B, goroutines int) {
	var lock sync.Mutex
	n := 0
	among(b, goroutines, func(each int) {
		for i := 0; i < each; i++ {
			lock.Lock()
			n++
			lock.Unlock()
		}
	})
}

func BenchmarkMutexUncontended(b *testing.B) { mutex(b, 1) }
func BenchmarkMutex8(b *testing.B)           { mutex(b, 8) }

// BenchmarkRWMutex8 writes once in a hundred times.
func BenchmarkRWMutex8(b *testing.B) {
	var lock sync.RWMutex
	n := 0
	among(b, 8, func(each int) {
		sum := 0
		for i := 0; i < each; i++ {
			if i%100 == 0 {
				lock.Lock()
				n++
				lock.Unlock()
			} else {
				lock.RLock()
				sum += n
				lock.RUnlock()
			}
		}
		_ = sum
	})
}

// BenchmarkCondBroadcast wakes a thousand at a time; an operation is one waiter that was woken and
// has run.
func BenchmarkCondBroadcast(b *testing.B) {
	const crowd = 1000
	var lock sync.Mutex
	cond := sync.NewCond(&lock)
	b.StopTimer()
	for round := 1; round <= (b.N+crowd-1)/crowd; round++ {
		var ready, woken sync.WaitGroup
		open := false
		ready.Add(crowd)
		for g := 0; g < crowd; g++ {
			woken.Go(func() {
				lock.Lock()
				ready.Done()
				for !open {
					cond.Wait()
				}
				lock.Unlock()
			})
		}
		ready.Wait()
		lock.Lock() // the last one waits by now
		open = true
		b.StartTimer()
		lock.Unlock()
		cond.Broadcast()
		woken.Wait()
		b.StopTimer()
	}
}

func BenchmarkPool8(b *testing.B) {
	pool := sync.Pool{New: func() any { return new([1024]byte) }}
	among(b, 8, func(each int) {
		for i := 0; i < each; i++ {
			buffer := pool.Get().(*[1024]byte)
			buffer[0]++
			pool.Put(buffer)
		}
	})
}

// BenchmarkWaitGroup1000 adds, starts and waits for a thousand at a time.
func BenchmarkWaitGroup1000(b *testing.B) {
	var group sync.WaitGroup
	for round := 0; round < (b.N+999)/1000; round++ {
		for g := 0; g < 1000; g++ {
			group.Go(func() {})
		}
		group.Wait()
	}
}
