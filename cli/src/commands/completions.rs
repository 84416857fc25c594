//! `tipline completions`: what a shell offers when somebody presses Tab.

use clap::Command;
use clap_complete::Shell;

use crate::exit::Exit;
use crate::output::report::{Failure, list};

/// Options of `tipline completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tipline completions bash > /etc/bash_completion.d/tipline
  tipline completions zsh > ~/.zfunc/_tipline
  tipline completions fish > ~/.config/fish/completions/tipline.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: &CompletionsArgs, mut line: Command) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut line, "tipline", &mut script);
    list(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Ok)
}
