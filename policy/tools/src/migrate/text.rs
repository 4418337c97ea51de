//! The text of `danted.conf`, cut into settings and blocks.
//!
//! ```text
//! file      = { setting | block }
//! setting   = keyword ":" { word }
//! block     = [ "client" | "hostid" | "socks" ] kind "{" { setting } "}"
//! kind      = "pass" | "block" | "route" | "monitor" | "bounce"
//! ```
//!
//! A setting reaches to the next keyword, on the same line or on a later one. `#` begins a comment. The value of `libwrap`
//! is the rest of its line.

use std::net::Ipv6Addr;

/// A keyword and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) line: usize,
    pub(super) keyword: String,
    pub(super) words: Vec<String>,
}

/// A kind of block with the settings in its braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) line: usize,
    /// The word before `pass` or `block`; `None` in files of old.
    pub(super) set: Option<String>,
    pub(super) kind: String,
    pub(super) settings: Vec<Setting>,
}

/// The whole file.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub(super) settings: Vec<Setting>,
    pub(super) blocks: Vec<Block>,
}

/// The place where the text is no `danted.conf`, and what was expected there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misread {
    pub(super) line: usize,
    pub(super) expected: &'static str,
}

const SETS: [&str; 3] = ["client", "hostid", "socks"];
const KINDS: [&str; 5] = ["pass", "block", "route", "monitor", "bounce"];
const OPERATORS: [&str; 6] = ["!=", ">=", "<=", "=", ">", "<"];

enum Token {
    Keyword(String),
    Word(String),
    Open,
    Close,
}

/// Reads a file.
pub(super) fn read(text: &str) -> Result<Text, Misread> {
    let mut reader = Reader::default();
    for (line, text) in (1..).zip(text.lines()) {
        for token in tokens(text) {
            reader.token(line, token)?;
        }
    }
    match reader.open {
        Some(block) => Err(Misread { line: block.line, expected: "} at the end of the rule" }),
        None => Ok(reader.text),
    }
}

/// Cuts a line.
fn tokens(line: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next().filter(|first| *first != '#') {
        let operator =
            OPERATORS.into_iter().find_map(|operator| Some((operator, rest.strip_prefix(operator)?)));
        rest = match (first, operator) {
            ('{', _) => braced(&mut tokens, Token::Open, rest),
            ('}', _) => braced(&mut tokens, Token::Close, rest),
            (_, Some((operator, behind))) => {
                tokens.push(Token::Word(operator.to_owned()));
                behind
            }
            _ => {
                let end = rest.find(|letter: char| letter.is_whitespace() || "{}#=!<>".contains(letter));
                let (word, behind) = rest.split_at_checked(end.unwrap_or(rest.len())).unwrap_or((rest, ""));
                // A lone `!` is no operator.
                let (word, behind) = if word.is_empty() { (rest, "") } else { (word, behind) };
                cut(&mut tokens, word);
                behind
            }
        };
        if let Some(Token::Keyword(keyword)) = tokens.last()
            && keyword == "libwrap"
        {
            tokens.push(Token::Word(rest.trim().to_owned()));
            break;
        }
        rest = rest.trim_start();
    }
    tokens
}

fn braced<'a>(tokens: &mut Vec<Token>, token: Token, rest: &'a str) -> &'a str {
    tokens.push(token);
    rest.get(1..).unwrap_or_default()
}

/// Adds a word, or a keyword if a colon is behind it. The colons of an IPv6 address do not count.
fn cut(tokens: &mut Vec<Token>, word: &str) {
    let is_ipv6 = word.split('/').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    let Some((before, behind)) = word.split_once(':').filter(|_| !is_ipv6) else {
        return tokens.push(Token::Word(word.to_owned()));
    };
    let keyword = match tokens.pop() {
        Some(Token::Word(last)) if before.is_empty() => last,
        last => {
            tokens.extend(last);
            before.to_owned()
        }
    };
    tokens.push(Token::Keyword(keyword));
    if !behind.is_empty() {
        tokens.push(Token::Word(behind.to_owned()));
    }
}

#[derive(Default)]
struct Reader {
    text: Text,
    open: Option<Block>,
    /// Words that belong to no setting: those in front of a brace.
    header: Vec<String>,
}

impl Reader {
    fn token(&mut self, line: usize, token: Token) -> Result<(), Misread> {
        let is_header = self.open.is_none()
            && matches!(&token, Token::Word(word) if [&SETS[..], &KINDS[..]].concat().contains(&word.as_str()));
        match token {
            Token::Word(word) if is_header => self.header.push(word),
            Token::Open => return self.open(line),
            _ if !self.header.is_empty() => {
                return Err(Misread { line, expected: "{ behind the name of a rule" });
            }
            Token::Close => {
                let block = self.open.take();
                self.text.blocks.push(block.ok_or(Misread { line, expected: "a keyword, found }" })?);
            }
            Token::Keyword(keyword) => self.settings().push(Setting { line, keyword, words: Vec::new() }),
            Token::Word(word) => {
                let setting = self.settings().last_mut();
                setting.ok_or(Misread { line, expected: "a keyword and a colon" })?.words.push(word);
            }
        }
        Ok(())
    }

    fn open(&mut self, line: usize) -> Result<(), Misread> {
        if let Some(block) = &mut self.open {
            return Err(Misread { line: block.line, expected: "no { inside of a rule" });
        }
        let mut header = std::mem::take(&mut self.header);
        let kind = header.pop().filter(|kind| KINDS.contains(&kind.as_str()));
        let kind = kind.ok_or(Misread { line, expected: "client, socks, pass, block or route before {" })?;
        let set = header.pop();
        if !header.is_empty() || set.as_ref().is_some_and(|set| !SETS.contains(&set.as_str())) {
            return Err(Misread { line, expected: "client, hostid or socks, and pass or block, before {" });
        }
        self.open = Some(Block { line, set, kind, settings: Vec::new() });
        Ok(())
    }

    fn settings(&mut self) -> &mut Vec<Setting> {
        match &mut self.open {
            Some(block) => &mut block.settings,
            None => &mut self.text.settings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(settings: &[Setting]) -> Vec<String> {
        settings
            .iter()
            .map(|Setting { line, keyword, words }| format!("{line} {keyword} {}", words.join(" ")))
            .collect()
    }

    #[test]
    fn settings_reach_to_the_next_keyword_whatever_the_lines() {
        let text = read("internal: 10.1.1.1 port=1080 # here\nsocksmethod : username\n  none\ntimeout.io:30 external: fd00::1").unwrap();
        let expected = [
            "1 internal 10.1.1.1 port = 1080",
            "2 socksmethod username none",
            "4 timeout.io 30",
            "4 external fd00::1",
        ];
        assert_eq!(shown(&text.settings), expected);
    }

    #[test]
    fn blocks_have_a_set_a_kind_and_settings() {
        let text = read("user.libwrap: nobody\nclient pass\n{ from: fd00::/8 to: ::/0 }\npass { from: 0/0 port 1-9 to: .b.org port>=80\nlibwrap: spawn (a: b } # c\n}").unwrap();
        assert_eq!(shown(&text.settings), ["1 user.libwrap nobody"]);
        let [client, pass] = &text.blocks[..] else { panic!("{text:?}") };
        assert_eq!((client.line, client.set.as_deref(), client.kind.as_str()), (3, Some("client"), "pass"));
        assert_eq!(shown(&client.settings), ["3 from fd00::/8", "3 to ::/0"]);
        assert_eq!((pass.set.as_deref(), pass.kind.as_str()), (None, "pass"));
        assert_eq!(
            shown(&pass.settings),
            ["4 from 0/0 port 1-9", "4 to .b.org port >= 80", "5 libwrap spawn (a: b } # c"]
        );
    }

    #[test]
    fn what_is_no_such_file_is_refused_with_its_line() {
        for (text, line) in [
            ("\nclient pass {\nfrom: 0/0", 2),
            ("}", 1),
            ("client pass { from: 0/0 {\n} }", 1),
            ("word", 1),
            ("internal: a\nclient socks pass {}", 2),
            ("client {}", 1),
            ("client pass\nfrom: 0/0", 2),
        ] {
            assert_eq!(read(text).unwrap_err().line, line, "{text}");
        }
    }

    #[test]
    fn any_text_is_read_or_refused() {
        for text in ["!", "a!b: !", ":", "::", "a: !=!", "é: ü{", "=", "socks socks {"] {
            let _ = read(text);
        }
    }
}
