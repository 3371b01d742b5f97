//! Links the C library, for its start-up code and for memcpy and its like. Rust's std would do that
//! by itself, and a microcontroller brings its own.

fn main() {
    println!("cargo::rustc-link-arg-bins=-lc");
    println!("cargo::rerun-if-changed=build.rs");
}
