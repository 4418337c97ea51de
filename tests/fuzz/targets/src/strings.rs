//! Strings from the network on their way into log lines and commands.

use arbitrary::{Result, Unstructured};
use sockd_common::message::UserId;
use sockd_common::message::ident::IdentUser;
use sockd_common::message::request::Command;
use sockd_policy::hook::expand;
use sockd_policy::template::check;
use sockd_session::hook_values::{Values, environment, expand_words};
use sockd_session::log::escape;

/// The bytes that were escaped; `None` if the text does not read as if it had been.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, tail @ ..] = rest {
        let (byte, tail) = match (first, tail) {
            (b'\\', [b'\\', tail @ ..]) => (b'\\', tail),
            (b'\\', [b'x', a, b, tail @ ..]) => {
                (u8::from_str_radix(std::str::from_utf8(&[*a, *b]).ok()?, 16).ok()?, tail)
            }
            (b'\\', _) => return None,
            (byte, tail) => (*byte, tail),
        };
        bytes.push(byte);
        rest = tail;
    }
    Some(bytes)
}

/// One word of printable ASCII without parentheses, from which the bytes can be had again.
pub fn escaped(data: &[u8]) {
    let text = escape(data);
    assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && !b"()".contains(&byte)), "{text:?}");
    assert_eq!(unescaped(&text).as_deref(), Some(data));
}

/// No value gets out of the place in the template where it stands, or says more than letters there.
pub fn command(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    let Ok((values, pid, template)) = values_and_template(&mut choices) else { return };
    let checked = check(template);
    let values = values.for_policy(pid);
    let command = expand(template, &values);
    let words = expand_words(template, &values);
    let environment = environment(&self::values(&values), pid);
    assert!(environment.iter().all(|entry| entry.bytes().all(|byte| byte.is_ascii_graphic())));
    if checked.is_err() {
        return;
    }
    assert_eq!(words.len(), template.split_ascii_whitespace().count());
    assert_eq!(
        words.join(" "),
        expand(&template.split_ascii_whitespace().collect::<Vec<_>>().join(" "), &values)
    );
    let mut rest = command.as_str();
    let mut pieces = template.split('%').peekable();
    let mut before = pieces.next().unwrap_or_default();
    rest = rest.strip_prefix(before).expect("the beginning of the template");
    while let Some(piece) = pieces.next() {
        let mut letters = piece.chars();
        let Some(letter) = letters.next() else {
            // `%%`, and the text up to the next substitution.
            let literal = pieces.next().unwrap_or_default();
            before = literal;
            rest = rest.strip_prefix('%').and_then(|rest| rest.strip_prefix(literal)).expect("a literal %");
            continue;
        };
        let value = expand(&format!("%{letter}"), &values);
        assert!(is_harmless(&value), "%{letter} is {value:?}");
        let behind = letters.as_str();
        // No name and no address of a host is a number and nothing else.
        let digits = !"AaZz".contains(letter) && value.bytes().all(|byte| byte.is_ascii_digit());
        let redirects =
            behind.trim_start_matches(|letter: char| letter.is_ascii_digit()).starts_with(['<', '>']);
        assert!(!(digits && redirects), "{value:?} becomes the number of a descriptor");
        assert!(!before.ends_with('$'), "{value:?} becomes the name of a variable");
        before = behind;
        rest = rest
            .strip_prefix(&*value)
            .and_then(|rest| rest.strip_prefix(behind))
            .expect("value and template");
    }
    assert_eq!(rest, "");
}

/// Not an option, not a hidden file, and no character that means anything to a shell.
fn is_harmless(value: &str) -> bool {
    let letters = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._@+:-".contains(&byte));
    letters && !value.is_empty() && value.len() <= 253 && !value.starts_with(['-', '.'])
}

/// The values in the form in which the monitor hands them to the command runner.
fn values(values: &sockd_policy::hook::Values<'_>) -> Values {
    Values {
        source_name: values.source_name.map(str::to_owned),
        source: values.source,
        command: if values.command == sockd_policy::Command::Bind { Command::Bind } else { Command::Connect },
        service: values.service.map(str::to_owned),
        port: values.port,
        ident_user: values.ident_user.and_then(IdentUser::new),
        user: UserId::new(values.user).expect("at most 255 bytes"),
        destination_name: values.destination_name.map(str::to_owned),
        destination: values.destination,
    }
}

fn values_and_template<'a>(choices: &mut Unstructured<'a>) -> Result<(Values, u32, &'a str)> {
    let some_bytes = |choices: &mut Unstructured<'a>, longest: usize| -> Result<&'a [u8]> {
        let length = choices.int_in_range(0..=longest.min(choices.len()))?;
        choices.bytes(length)
    };
    let user = some_bytes(choices, 255)?;
    let ident_user = some_bytes(choices, 64)?;
    let name = std::str::from_utf8(some_bytes(choices, 64)?).ok();
    let service = std::str::from_utf8(some_bytes(choices, 16)?).ok();
    let source = choices.arbitrary()?;
    let command = if choices.arbitrary()? { Command::Bind } else { Command::Connect };
    let pid = choices.arbitrary()?;
    let values = Values {
        source_name: name.map(str::to_owned),
        source,
        command,
        service: service.map(str::to_owned),
        port: choices.arbitrary()?,
        ident_user: IdentUser::new(ident_user),
        user: UserId::new(user).expect("at most 255 bytes"),
        destination_name: name.map(str::to_owned),
        destination: choices.arbitrary()?,
    };
    let rest = choices.bytes(choices.len())?;
    Ok((values, pid, std::str::from_utf8(rest).unwrap_or("echo %u")))
}
