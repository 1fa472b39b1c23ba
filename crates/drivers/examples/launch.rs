//! The launcher on its own, for this crate's tests.
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    std::process::exit(evenkeel_drivers::launch::main(&arguments));
}
