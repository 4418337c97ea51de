//! `sockd.route`: the address of this host from which it speaks to a destination.
//!
//! A line is `if_addr dst_addr dst_mask`. The destination may be anything that a rule may name. The line decides the source
//! address of a CONNECT and the listening address of a BIND, as the manual promises.

use alloc::vec::Vec;
use core::net::IpAddr;

use sockd_table::{
    Builder, FactState, Found, Host, HostName, InDoubt, Kind, Limits, Network, Pattern, Ports, Protocol,
    Query, Rule, RuleBody, Table, canonical,
};

use crate::error::{Faults, LineError};
use crate::line::{Words, each_line};
use crate::template::are_commands;

/// The lines of one `sockd.route`, made by [`parse_routes`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    // A line matches only destinations of its interface's family. So the source pattern of a line is the whole family, and
    // a query has the destination as its source too. The choice of a line is the string of its interface.
    pub(crate) table: Table,
}

/// The answer of the routes for a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The host speaks from this address.
    From {
        /// The address of the interface.
        source: IpAddr,
        /// The line that says so, counted from 1.
        line: u32,
    },
    /// No line matches. The destination must not be reached.
    NoMatch,
    /// A line depends on the names of the destination. Find them out and ask again.
    NeedNames,
    /// A line depends on the names of the destination, which could not be had.
    NamesUnavailable {
        /// The line, counted from 1.
        line: u32,
    },
}

/// Reads `sockd.route`.
///
/// # Errors
/// Every faulty line, at most a thousand of them, and how many more there are.
pub fn parse_routes(text: &[u8]) -> Result<Routes, Vec<LineError>> {
    let mut builder = Builder::default();
    let mut faults = Faults::default();
    if !builder.admits(text.len()) {
        return Err(alloc::vec![LineError::new(0, "expected a shorter file".into())]);
    }
    each_line(text, &mut faults, |number, line| {
        let words = Words::of(number, line)?;
        if words.is_blank() { Ok(()) } else { route(&mut builder, number, words) }
    });
    faults.none()?;
    Ok(Routes { table: builder.finish(&ROUTES) })
}

fn route(builder: &mut Builder, number: usize, mut words: Words) -> Result<(), LineError> {
    let interface = words.peek().and_then(|word| word.parse::<IpAddr>().ok());
    let interface = interface.filter(|address| !address.is_unspecified() && canonical(*address) == *address);
    let interface = interface.ok_or_else(|| words.expected("address of an interface"))?;
    let text = words.take().unwrap_or_default();
    let found = words.peek().unwrap_or_default();
    let destination = words.pattern("destination")?;
    let family = Network::prefix(interface, 0).map_or(Pattern::Any, Pattern::Network);
    if let Pattern::Network(network) = destination
        && !network.of_family(interface)
    {
        return Err(words.wrong("destination of the interface's address family", found));
    }
    words.end("the end of the route")?;
    if let Some(command) = words.command {
        return Err(words.wrong("the end of the route", command));
    }
    let choice = builder.text(text);
    builder.rule(number, &family, &destination, RuleBody::of(choice));
    Ok(())
}

impl Routes {
    /// The address from which to speak to a destination, or to listen for it. The first matching line counts. `names` are
    /// those of the destination.
    pub fn source_for(&self, destination: IpAddr, names: FactState<&[HostName]>) -> Route {
        let destination = Host { address: Some(canonical(destination)), names };
        let source = Host { names: FactState::Known(&[]), ..destination };
        let query = Query { source, destination, port: 0, user: b"", groups: b"", protocol: Protocol::ANY };
        match self.table.find(&query) {
            Found::Rule { rule, .. } => {
                self.line(rule).map_or(Route::NoMatch, |(source, line)| Route::From { source, line })
            }
            Found::NeedNames(_) => Route::NeedNames,
            Found::NamesUnavailable { rule, .. } => Route::NamesUnavailable { line: self.table.line(rule) },
            Found::Nothing => Route::NoMatch,
        }
    }

    fn line(&self, index: u32) -> Option<(IpAddr, u32)> {
        let interface = interface(&self.table, &self.table.rule(index)?)?;
        Some((interface, self.table.line(index)))
    }

    /// The number of lines.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no line, so that no destination can be reached.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The address that each line speaks from, with the number of the line.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (IpAddr, u32)> + '_ {
        self.table.rules().filter_map(|(index, _)| self.line(index))
    }

    /// The lines in effect, in a form that `sockd.route` accepts.
    pub fn lines(&self) -> impl Iterator<Item = alloc::string::String> + '_ {
        self.table.rules().filter_map(|(index, rule)| {
            let (source, _) = self.line(index)?;
            Some(alloc::format!("{source} {}", self.table.destination(&rule)))
        })
    }
}

/// The kind of `sockd.route`.
pub(crate) const ROUTES: Kind = Kind { number: 2, in_doubt: |_, _| InDoubt::Stop, asks: |_| 0, check };

fn check(table: &Table) -> Result<(), &'static str> {
    let is_choice = |body: &RuleBody| {
        (body.choice as usize) < table.string_count()
            && (body.users, body.groups, body.template) == (0, 0, 0)
            && (body.ports, body.protocol, body.limits) == (Ports::ANY, Protocol::ANY, Limits::NONE)
    };
    if !are_commands(table) {
        return Err("a command that is none");
    }
    if !table.bodies().iter().all(is_choice) {
        return Err("a rule that says nothing known");
    }
    let own = table.rules().all(|(_, rule)| is_route(table, &rule)) && !table.has_specials();
    if own { Ok(()) } else { Err("a rule of another kind of file") }
}

/// Whether a rule has an interface, a source pattern that is its family, and a destination of that family.
fn is_route(table: &Table, rule: &Rule) -> bool {
    let Some(interface) = interface(table, rule) else { return false };
    let of_family = match table.destination(rule) {
        Pattern::Network(network) => network.of_family(interface),
        _ => true,
    };
    of_family
        && Network::prefix(interface, 0).map(Pattern::Network) == Some(table.source(rule))
        && !interface.is_unspecified()
        && canonical(interface) == interface
}

/// The interface of a route.
fn interface(table: &Table, rule: &Rule) -> Option<IpAddr> {
    table.string(table.body(rule.body)?.choice).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn source(routes: &Routes, destination: &str, names: Option<&[HostName]>) -> Option<(IpAddr, u32)> {
        match routes.source_for(ip(destination), names.into()) {
            Route::From { source, line } => Some((source, line)),
            _ => None,
        }
    }

    #[test]
    fn the_first_line_of_the_destinations_family_counts() {
        let text = b"# c\n10.9.9.1 11.0.0.0/8\n2001:db8::1 ALL 0.0.0.0\n10.9.9.3 0.0.0.0 0.0.0.0\n";
        let routes = parse_routes(text).unwrap();
        assert_eq!(source(&routes, "11.1.1.1", None), Some((ip("10.9.9.1"), 2)));
        assert_eq!(source(&routes, "12.1.1.1", None), Some((ip("10.9.9.3"), 4)));
        assert_eq!(source(&routes, "::ffff:12.1.1.1", None), Some((ip("10.9.9.3"), 4)));
        assert_eq!(source(&routes, "2001:db8::9", None), Some((ip("2001:db8::1"), 3)));
    }

    #[test]
    fn a_line_with_a_name_asks_for_names_unless_an_earlier_line_decides() {
        let text = b"10.9.9.1 11.0.0.0/8\n10.9.9.2 .xyz.com 0.0.0.0\n";
        let routes = parse_routes(text).unwrap();
        assert_eq!(routes.source_for(ip("12.0.0.1"), FactState::NotAsked), Route::NeedNames);
        assert_eq!(routes.source_for(ip("::1"), FactState::NotAsked), Route::NoMatch);
        let names = [HostName::parse(b"a.xyz.com").unwrap()];
        assert_eq!(source(&routes, "12.0.0.1", Some(&names)), Some((ip("10.9.9.2"), 2)));
        assert_eq!(source(&routes, "12.0.0.1", Some(&[])), None);
        assert_eq!(source(&routes, "11.0.0.1", None), Some((ip("10.9.9.1"), 1)));
        let unavailable = |address| routes.source_for(ip(address), FactState::Unavailable);
        assert_eq!(unavailable("12.0.0.1"), Route::NamesUnavailable { line: 2 });
        assert_eq!(unavailable("11.0.0.1"), Route::From { source: ip("10.9.9.1"), line: 1 });
        assert_eq!(unavailable("::1"), Route::NoMatch);
    }

    #[test]
    fn a_malformed_line_refuses_the_file() {
        let faults = parse_routes(b"10.9.9.1\n10.9.9.1 11.0.0.0 255.0.0.0 x\nif0 ALL 0.0.0.0\n10.9.9.1 2001:db8::/32\n0.0.0.0 ALL 0.0.0.0\n10.0.0.1 ALL 0.0.0.0 : cmd\n");
        let faults: Vec<_> = faults.unwrap_err().iter().map(LineError::to_string).collect();
        assert_eq!(
            faults,
            [
                "line 1: expected destination address, found the end of the line",
                "line 2: expected the end of the route, found \"x\"",
                "line 3: expected address of an interface, found \"if0\"",
                "line 4: expected destination of the interface's address family, found \"2001:db8::/32\"",
                "line 5: expected address of an interface, found \"0.0.0.0\"",
                "line 6: expected the end of the route, found \"cmd\"",
            ]
        );
    }

    #[test]
    fn the_lines_in_effect_make_the_same_routes_again() {
        let text = b"10.9.9.1 11.0.0.0/8 # a\n2001:db8::1 2001:db8::/32\n10.9.9.1 ALL 255.0.0.0\n10.9.9.1 .a.b 0.0.0.0\n";
        let routes = parse_routes(text).unwrap();
        let lines = routes.lines().collect::<Vec<_>>().join("\n");
        assert_eq!(parse_routes(lines.as_bytes()).unwrap(), routes);
    }
}
