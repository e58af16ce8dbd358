//! The `crossfade` binary once more, built beside the end-to-end tests, so that cargo hands them its path.

/// The same allocator as the real binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    crossfade::main()
}
