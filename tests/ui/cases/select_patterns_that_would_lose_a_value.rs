use gopark::chan::{Receiver, Sender};

async fn f(rx: Receiver<Result<i32, ()>>, numbers: Receiver<i32>, tx: Sender<i32>) {
    gopark::select! { Ok(()) = tx.send(1) => {} }
    gopark::select! { Err(error) = tx.send(1) => drop(error) }
    gopark::select! { None = rx.recv() => {} }
    gopark::select! { 1 = gopark::select::fut(async { 1 }) => {}, default => {} }
    gopark::select! {
        v = numbers.recv() => drop(v),
        Some(Ok(v)) = rx.recv() => drop(v),
    }
    gopark::select! { Some(Err(v)) = rx.recv() => drop(v), else => {} }
    gopark::select! { Some(-1) = numbers.recv() => {} }
    gopark::select! { Some(Some(v)) = numbers.recv() => drop(v) }
}

fn main() {
    let _ = f;
}
