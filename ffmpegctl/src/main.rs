fn main() -> std::process::ExitCode {
    ffmpegctl::main(std::env::args_os())
}
