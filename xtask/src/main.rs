//! The commands of the README; `cargo xtask help` lists them.

mod bench;
mod cargo;
mod deny;
mod fuzz;
mod instructions;
mod invocation;
mod metadata;
mod smoke;
mod steps;
mod tools;
mod wait;

use std::{env, process::ExitCode};

use crate::{
    invocation::Failure,
    steps::{AFTER_TEST, BEFORE_TEST, MEASURE, SMOKE, TEST, TOOLS},
};

struct Command {
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<(), Failure>,
}

const COMMANDS: [Command; 7] = [
    Command {
        name: "test",
        arguments: "",
        about: "installs what is missing, then runs every test, doctest, conformance case, \
                model check and lint",
        run: |_| steps::run(&[TOOLS, TEST]),
    },
    Command {
        name: "ci",
        arguments: "",
        about: "`test`, and format, docs, each feature, dependencies, the ordering service started \
                and flooded, benchmarks run once, and instructions counted",
        run: |_| steps::run(&[TOOLS, BEFORE_TEST, TEST, AFTER_TEST, SMOKE, MEASURE]),
    },
    Command {
        name: "smoke",
        arguments: "",
        about: "starts the ordering service as a newcomer does, and floods it",
        run: |_| steps::run(&[SMOKE]),
    },
    Command {
        name: "bench",
        arguments: "[--quick] [GROUP]... [--filter PATTERN]",
        about: bench::ABOUT,
        run: bench::run,
    },
    Command {
        name: "instructions",
        arguments: "[--record]",
        about: "counts the instructions of the layers' calls and holds them against \
                benches/instructions.txt, or records them there",
        run: instructions::run,
    },
    Command {
        name: "fuzz",
        arguments: "[TARGET] [SECONDS]",
        about: "lets cargo-fuzz look for inputs that break a machine or a parser (all targets, \
                30 s each)",
        run: fuzz::run,
    },
    Command {
        name: "help",
        arguments: "",
        about: "prints this list",
        run: |_| {
            help();
            Ok(())
        },
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        help();
        return ExitCode::SUCCESS;
    };
    let command = COMMANDS.iter().find(|command| command.name == name);
    if asks_for_help(name) || rest.iter().any(|argument| asks_for_help(argument)) {
        command.map_or_else(help, Command::print);
        return ExitCode::SUCCESS;
    }
    let Some(command) = command else {
        eprintln!("there is no command `{name}`\n");
        help();
        return ExitCode::FAILURE;
    };
    match (command.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\n{failure}");
            ExitCode::FAILURE
        }
    }
}

fn help() {
    COMMANDS.iter().for_each(Command::print);
}

fn asks_for_help(argument: &str) -> bool {
    matches!(argument, "--help" | "-h")
}

impl Command {
    fn print(&self) {
        println!("cargo xtask {} {}", self.name, self.arguments);
        println!("    {}", self.about);
    }
}
