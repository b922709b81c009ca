async fn f(rx: gopark::chan::Receiver<i32>) {
    gopark::select! { v = rx.recv() }
    gopark::select! { default => {}, default => {} }
    gopark::select! { rx.recv() => {} }
    gopark::select! { default if true => {} }
    gopark::select! { else => {}, else => {} }
    gopark::select! { else if true => {} }
    gopark::select! { Some(v) = rx.recv() }
    gopark::select! { Some(v) = rx.recv(), else => {} }
    gopark::select! { Some(v) = rx.recv() => drop(v); else => {} }
}

fn main() {
    let _ = f;
}
