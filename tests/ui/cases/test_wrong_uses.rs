#[gopark::test]
fn not_async() {}

#[gopark::test]
async fn arguments(number: i32) {}

#[gopark::test]
#[test]
async fn twice_a_test() {}

#[gopark::test(worker_threads = 2)]
async fn unknown() {}

#[gopark::test(runs = 5)]
async fn runs_of_what() {}

#[gopark::test(sim)]
async fn without_the_feature() {}

fn main() {}
