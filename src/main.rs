//! The program; everything is in the library.

/// A notification's way is some hundred small allocations, most of them the AWS SDK's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    kakitome::cli::main()
}
