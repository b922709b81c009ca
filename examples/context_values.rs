//! Values that travel with a request, and are found by their type.

use gopark::context::Context;
use gopark::{block_on, go};

/// The keys are private types, so other code cannot set or read them by accident.
struct RequestId(u64);
#[derive(Debug, PartialEq)]
struct User(&'static str);

/// Needs to know nothing of the layers between it and the request.
fn log(ctx: &Context, text: &str) -> String {
    let id = ctx.value::<RequestId>().map_or(0, |id| id.0);
    let user = ctx.value::<User>().map_or("nobody", |user| user.0);
    format!("[{id} {user}] {text}")
}

async fn handle(ctx: Context) -> String {
    // Another user, for a part of the request only.
    let elevated = ctx.with_value(User("root"));
    assert_eq!(log(&elevated, "rotate keys"), "[7 root] rotate keys");
    log(&ctx, "done")
}

fn main() {
    block_on(example());
}

pub(crate) async fn example() {
    let server = Context::background();
    assert_eq!(log(&server, "listening"), "[0 nobody] listening");

    let request = server.with_value(RequestId(7)).with_value(User("ana"));
    let (request, cancel) = request.with_cancel();
    let line = go(handle(request.clone())).await.unwrap();
    println!("{line}");
    assert_eq!(line, "[7 ana] done");

    // The audit outlives the request: it has the values of the request, but not its end.
    cancel.cancel();
    let audit = request.without_cancel();
    assert!(request.err().is_some() && audit.err().is_none());
    let line = go(async move { log(&audit, "audited") }).await.unwrap();
    println!("{line}");
    assert_eq!(line, "[7 ana] audited");

    assert_eq!(request.value::<User>().as_deref(), Some(&User("ana")));
    assert!(request.value::<&str>().is_none());
}
