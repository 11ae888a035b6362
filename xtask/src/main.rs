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

use anyhow::{Context, Result, bail};

/// A command, with what its `--help` says.
struct Command {
    name: &'static str,
    about: &'static str,
    /// Each with what it means; a value stands behind the name.
    options: &'static [(&'static str, &'static str)],
    /// Whether other arguments go to what it runs.
    passes: bool,
    run: fn(&[String]) -> Result<()>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "demo",
        about: "set up what is missing, run the main job on real input, show the result",
        options: &[(
            "--keep FOLDER",
            "keep the report and the data in this folder",
        )],
        passes: false,
        run: demo::run,
    },
    Command {
        name: "test",
        about: "set up, build plugins and guests, run every test (arguments go to the test runner)",
        options: &[("-E FILTER", "of cargo nextest, e.g. -E 'test(replay)'")],
        passes: true,
        run: test::run,
    },
    Command {
        name: "ci",
        about: "format, lints, licences, docs, plugins, every test: what has to pass before a merge",
        options: &[],
        passes: false,
        run: |_| ci::run(),
    },
    Command {
        name: "plugins",
        about: "build the plugins and the test guests as components",
        options: &[],
        passes: false,
        run: |_| components::build_all().map(drop),
    },
    Command {
        name: "bench",
        about: "the benchmarks, as ratios",
        options: &[
            (
                "--quick",
                "few and short rounds: shows that they run, the figures mean nothing",
            ),
            (
                "--only NAME",
                "calls, rooms, http, spawn, neighbours, growth, mcp, models, react, memory, runs,",
            ),
            (
                "",
                "or runs-steps, runs-replay, runs-length, runs-stored, runs-parked",
            ),
            (
                "--stored N",
                "runs in the store at most, in runs-stored (20000)",
            ),
            ("--parked N", "parked runs, in runs-parked (2000)"),
            ("--plot FILE", "draw how figures grow, as SVG"),
        ],
        passes: false,
        run: bench::run,
    },
    Command {
        name: "fuzz",
        about: "the property tests over hostile input, round after round",
        options: &[
            ("--seconds N", "begin no round after so many (1800)"),
            (
                "--scale N",
                "times the cases of a test run, in each round (20)",
            ),
        ],
        passes: false,
        run: long::fuzz,
    },
    Command {
        name: "crash",
        about: "kill -9 under load",
        options: &[("--rounds N", "how often (200)")],
        passes: false,
        run: long::crash,
    },
    Command {
        name: "powerloss",
        about: "rebuild the disk at crash points",
        options: &[("--states N", "how many (1000)")],
        passes: false,
        run: long::powerloss,
    },
    Command {
        name: "mutants",
        about: "change what must not be wrong, place by place: does a test notice?",
        options: &[
            ("--only PART", "only this part; may be given more than once"),
            (
                "--resume",
                "take what an earlier run caught as caught, where its file has not changed",
            ),
            (
                "--seconds N",
                "how long the tests may take over one mutant (120)",
            ),
            ("--jobs N", "tests at once (one for each processor)"),
            ("--list", "only say what mutants there are"),
        ],
        passes: false,
        run: mutants::run,
    },
    Command {
        name: "advisories",
        about: "check Cargo.lock against a file of RustSec advisories (JSON lines)",
        options: &[("FILE", "the file")],
        passes: true,
        run: advisories::run,
    },
];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = args.split_first() else {
        print!("{}", usage());
        return Ok(());
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        print!("{}", usage());
        return Ok(());
    }
    let command = COMMANDS.iter().find(|command| command.name == name);
    let command = command.with_context(|| format!("unknown command `{name}`\n\n{}", usage()))?;
    if rest
        .iter()
        .any(|arg| matches!(arg.as_str(), "--help" | "-h"))
    {
        print!("{}", help(command));
        return Ok(());
    }
    check(command, rest)?;
    (command.run)(rest)
}

fn usage() -> String {
    let lines = COMMANDS
        .iter()
        .map(|command| format!("  {:<12} {}\n", command.name, command.about));
    format!(
        "Usage: cargo xtask COMMAND [OPTIONS]\n\n{}\n`cargo xtask COMMAND --help` tells its options.\n",
        lines.collect::<String>()
    )
}

fn help(command: &Command) -> String {
    let lines = command
        .options
        .iter()
        .map(|(option, what)| format!("  {option:<14} {what}\n"));
    let lines: String = lines.collect();
    let options = match lines.is_empty() {
        true => "It has no options.\n".to_owned(),
        false => format!("Options:\n{lines}"),
    };
    let (name, about) = (command.name, command.about);
    format!("Usage: cargo xtask {name} [OPTIONS]\n\n{about}\n\n{options}")
}

/// Refuses options that there are none of: a long run with a default is no answer to a
/// word that is misspelt.
fn check(command: &Command, args: &[String]) -> Result<()> {
    let mut args = args.iter();
    while let Some(arg) = args.next().filter(|_| !command.passes) {
        let (given, value) = arg
            .split_once('=')
            .map_or((arg.as_str(), None), |(name, value)| (name, Some(value)));
        let known = command.options.iter().map(|(option, _)| *option);
        let found = known
            .into_iter()
            .find(|option| option.split(' ').next() == Some(given));
        match found {
            None => bail!("unknown option `{arg}`\n\n{}", help(command)),
            Some(_) if value.is_some() => {
                bail!("`{arg}`: write the value as a word of its own, {given} VALUE")
            }
            Some(option) if option.contains(' ') && args.next().is_none() => {
                bail!("`{arg}` needs a value\n\n{}", help(command))
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_options_are_told_before_anything_runs() {
        let table = [
            ("fuzz", vec!["--seconds", "5"], ""),
            ("fuzz", vec![], ""),
            ("fuzz", vec!["--second", "5"], "unknown option `--second`"),
            ("fuzz", vec!["--seconds"], "`--seconds` needs a value"),
            ("fuzz", vec!["--seconds=5"], "write the value as a word"),
            ("fuzz", vec!["5"], "unknown option `5`"),
            (
                "mutants",
                vec!["--only", "gate", "--resume", "--only", "runs"],
                "",
            ),
            ("test", vec!["-E", "test(x)", "anything"], ""),
            ("ci", vec!["--fast"], "It has no options"),
        ];
        for (name, args, expect) in table {
            let command = COMMANDS
                .iter()
                .find(|command| command.name == name)
                .expect(name);
            let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
            let said =
                check(command, &args).map_or_else(|error| error.to_string(), |()| String::new());
            match expect {
                "" => assert_eq!(said, "", "{name} {args:?}"),
                expect => assert!(said.contains(expect), "{name} {args:?}: {said}"),
            }
        }
    }

    #[test]
    fn each_command_is_told() {
        for command in COMMANDS {
            assert!(usage().contains(command.about));
            assert!(help(command).contains(&format!("cargo xtask {}", command.name)));
        }
    }
}
