//! Commands as a person would type them.

use std::process::Command;

use crate::toolchain::SEPARATOR;

/// Shows a command on standard error if `verbose`.
pub fn show(command: &Command, verbose: bool) {
    if verbose {
        eprintln!("+ {}", line(command));
    }
}

/// The command in one line, its environment in front.
pub fn line(command: &Command) -> String {
    let set = command.get_envs().filter_map(|(name, value)| {
        // The same flags in the form that can be typed.
        if name == "CARGO_ENCODED_RUSTFLAGS" {
            let flags = value?.to_string_lossy().replace(SEPARATOR, " ");
            return Some(format!("RUSTFLAGS={}", quoted(&flags)));
        }
        Some(format!(
            "{}={}",
            name.to_string_lossy(),
            quoted(&value?.to_string_lossy())
        ))
    });
    let program = quoted(&command.get_program().to_string_lossy());
    let arguments = command
        .get_args()
        .map(|argument| quoted(&argument.to_string_lossy()));
    set.chain([program])
        .chain(arguments)
        .collect::<Vec<_>>()
        .join(" ")
}

/// In quotes where a shell would read it otherwise.
fn quoted(word: &str) -> String {
    let plain = |char: char| char.is_ascii_alphanumeric() || "-_=+,./:@%".contains(char);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_could_read_it() {
        let mut command = Command::new("cargo");
        command
            .env("RUSTFLAGS", "-a -b")
            .args(["build", "it's", ""]);
        assert_eq!(
            line(&command),
            r"RUSTFLAGS='-a -b' cargo build 'it'\''s' ''"
        );
    }
}
