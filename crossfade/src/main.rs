//! The `crossfade` binary; everything is in the library, so that tests can start it as a process of their own.

/// Many small, short-lived buffers on several threads: where mimalloc beats the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    crossfade::main()
}
