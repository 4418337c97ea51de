//! The text of a rule's command, checked when the file is read.

use core::fmt;

use sockd_table::{LONGEST_LINE, Table};

/// The shell command of a line, `#NO_IDENTD:` or `#BAD_ID:`, known to expand without errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template<'r> {
    text: &'r str,
}

/// The reason why a command is no template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateError {
    /// `%` followed by a character that stands for nothing.
    Unknown(char),
    /// A `%` at the end.
    Trailing,
    /// No letter or digit, so nothing that could be run.
    Empty,
    /// A value right behind `$`, or one that may be a number right before `<` or `>`.
    Ambiguous,
}

impl<'r> Template<'r> {
    /// A command whose text has been checked.
    pub(crate) fn checked(text: &'r str) -> Template<'r> {
        Template { text }
    }

    /// The command as written.
    pub fn text(&self) -> &'r str {
        self.text
    }
}

/// Checks the text of a command.
///
/// The shell has to see the same words whatever the values are. So `$%u` is refused, in which a client would choose a
/// variable, and `%u>`, in which a user called 2 would be the number of a descriptor. Quotes make no difference,
/// because a command may pass its words to another shell.
///
/// # Errors
/// The first fault of the text.
pub fn check(text: &str) -> Result<(), TemplateError> {
    let (mut rest, mut before) = (text.chars(), ' ');
    while let Some(letter) = rest.next() {
        if letter == '%' {
            let numeric = match rest.next() {
                Some('p' | 'S' | 's' | 'U' | 'u') => true,
                Some('A' | 'a' | 'c' | 'Z' | 'z') => false,
                Some('%') => continue,
                Some(other) => return Err(TemplateError::Unknown(other)),
                None => return Err(TemplateError::Trailing),
            };
            let behind = rest.as_str().trim_start_matches(|digit: char| digit.is_ascii_digit());
            if before == '$' || (numeric && behind.starts_with(['<', '>'])) {
                return Err(TemplateError::Ambiguous);
            }
        }
        before = letter;
    }
    if text.contains(|letter: char| letter.is_ascii_alphanumeric()) {
        Ok(())
    } else {
        Err(TemplateError::Empty)
    }
}

/// Whether every command of a table could have been read from a line.
pub(crate) fn are_commands(table: &Table) -> bool {
    let is_command = |text: &str| {
        text.trim_ascii() == text
            && text.len() <= LONGEST_LINE
            && !text.contains(['\n', '\0'])
            && check(text).is_ok()
    };
    table.templates().all(is_command)
}

/// The characters that may stand behind a `%`.
const KNOWN: &str = "A a c p S s U u Z z %";

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TemplateError::Unknown(letter) => {
                write!(f, "one of {KNOWN} behind a %, and not %{}", letter.escape_default())
            }
            TemplateError::Trailing => write!(f, "one of {KNOWN} behind its last %"),
            TemplateError::Empty => f.write_str("a letter or a digit in it"),
            TemplateError::Ambiguous => {
                f.write_str("no $ right before a value, and a blank between a value and < or >")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_with_a_fault_is_refused_at_load() {
        assert_eq!(check("echo %x"), Err(TemplateError::Unknown('x')));
        assert_eq!(check("echo %"), Err(TemplateError::Trailing));
        assert_eq!(check(" ;; "), Err(TemplateError::Empty));
        assert_eq!(check(""), Err(TemplateError::Empty));
        assert_eq!(check("echo %% %%%u"), Ok(()));
    }

    #[test]
    fn a_value_that_could_be_a_variable_or_the_number_of_a_descriptor_is_refused_at_load() {
        for text in ["echo $%u", "echo '$%A'", "echo %u>/x", "echo %s<x", "echo %p2>x", "mail -s \"<%U>\" x"]
        {
            assert_eq!(check(text), Err(TemplateError::Ambiguous), "{text}");
        }
        for text in ["echo $ %u $%%", "echo %u >/x", "echo %u@%A>/x", "echo <%u 2>&1", "echo %%>x"] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }
}
