async fn f(rx: gopark::chan::Receiver<i32>, ctx: gopark::context::Context) {
    gopark::select! {
        _ = ctx.done() => {}
        rx.recv() => {}
        v = rx.recv() => drop(v),
    }
    gopark::select! {
        _ = ctx.done() => {}
        v = rx.recv() if true => drop(v),
    }
    gopark::select! {
        _ = ctx.done() => {}
        v = rx.recv() -> drop(v),
    }
    gopark::select! {
        _ = ctx.done() => {}
        v <- rx.recv() => drop(v),
    }
}

fn main() {
    let _ = f;
}
