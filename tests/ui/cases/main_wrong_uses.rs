#[gopark::main]
fn not_async() {}

#[gopark::main]
async fn arguments(number: i32) {}

#[gopark::main]
async fn generic<T>() {}

#[gopark::main]
async unsafe fn dangerous() {}

#[gopark::main]
async extern "C" fn foreign() {}

#[gopark::main]
struct Main;

#[gopark::main]
static POINTER: fn() = not_async;

#[gopark::main(flavor = "current_thread")]
async fn unknown() {}

#[gopark::main(gomaxprocs)]
async fn no_value() {}

#[gopark::main(gomaxprocs = )]
async fn empty_value() {}

#[gopark::main(local = true)]
async fn value() {}

#[gopark::main(gomaxprocs = 1, gomaxprocs = 2)]
async fn twice() {}

trait Trait {
    #[gopark::main]
    async fn method(&self);
    #[gopark::main]
    async fn no_body();
}

#[gopark::main]
fn main() {}
