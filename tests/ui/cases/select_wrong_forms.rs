async fn f(rx: gopark::chan::Receiver<i32>) {
    gopark::select! { v = rx.recv() }
    gopark::select! { default => {}, default => {} }
    gopark::select! { rx.recv() => {} }
    gopark::select! { default if true => {} }
}

fn main() {
    let _ = f;
}
