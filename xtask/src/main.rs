//! `cargo xtask`: everything a developer runs, each command by itself enough on
//! a machine with rustup and a C compiler.

mod advisories;
mod bench;
mod cargo;
mod ci;
mod components;
mod demo;
mod long;
mod mutants;
mod test;

use anyhow::{Result, bail};

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  demo         set up what is missing, run the main job on real input, show the result
  test         set up, build plugins and guests, run every test (arguments go to the test runner)
  ci           format, lints, licences, docs, plugins, every test: what has to pass before a merge
  plugins      build the plugins and the test guests as components
  bench        the benchmarks, as ratios (--quick: a short form; --only NAME)
  fuzz         the property tests over hostile input, round after round (--seconds N, default 1800)
  crash        kill -9 under load (--rounds N, default 200)
  powerloss    rebuild the disk at crash points (--states N, default 1000)
  mutants      change what must not be wrong, place by place: does a test notice? (--only PART)
  advisories   check Cargo.lock against a file of RustSec advisories (JSON lines)
";

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    match command.as_str() {
        "demo" => demo::run(&rest),
        "test" => test::run(&rest),
        "ci" => ci::run(),
        "plugins" => components::build_all().map(drop),
        "bench" => bench::run(&rest),
        "fuzz" => long::fuzz(&rest),
        "crash" => long::crash(&rest),
        "powerloss" => long::powerloss(&rest),
        "mutants" => mutants::run(&rest),
        "advisories" => advisories::run(&rest),
        "" | "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        other => bail!("unknown command `{other}`\n\n{USAGE}"),
    }
}
