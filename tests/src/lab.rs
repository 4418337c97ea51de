//! The laboratory with sockd and rsyslogd running on the gateway, with which most tests begin.

use crate::site::Site;
use crate::sockd::{PERMIT_ALL, Sockd, Start};
use crate::syslog::{Mark, Syslog};
use crate::wait::until;

/// Site, log and daemon.
pub struct Lab {
    /// The daemon; ended first.
    pub sockd: Sockd,
    /// Its log.
    pub log: Syslog,
    /// The machines.
    pub site: Site,
    mark: Mark,
}

impl Lab {
    /// With these rules and default settings.
    pub fn new(conf: &str) -> Self {
        Self::started(conf, |start| start)
    }

    /// With these rules and these settings.
    pub fn with_settings(conf: &str, settings: &str) -> Self {
        Self::started(conf, |start| start.settings(settings))
    }

    /// With these rules and whatever else `prepare` adds.
    pub fn started(conf: &str, prepare: impl FnOnce(Start) -> Start) -> Self {
        Self::at(Site::new(), conf, prepare)
    }

    /// At a site that has been prepared, with rules that permit everything.
    pub fn new_at(site: Site) -> Self {
        Self::at(site, PERMIT_ALL, |start| start)
    }

    /// As [`Lab::started`] at a site that has been prepared.
    pub fn at(site: Site, conf: &str, prepare: impl FnOnce(Start) -> Start) -> Self {
        let log = Syslog::start(&site.gateway);
        let sockd = prepare(Start::new(&site.gateway, conf)).start();
        log.wait_for(Mark::BEGINNING, "serving on ");
        let mark = log.mark();
        Self { sockd, log, site, mark }
    }

    /// Insists that the log has exactly these lines since the start or the last such call.
    pub fn assert_logged(&mut self, lines: &[String]) {
        self.log.expect(self.mark, lines);
        self.mark = self.log.mark();
    }

    /// Waits for a line that contains `text` since the start or the last [`Lab::assert_logged`].
    pub fn wait_for_line(&self, text: &str) -> String {
        self.log.wait_for(self.mark, text)
    }

    /// Waits for this number of lines since the start or the last [`Lab::assert_logged`], in any order.
    pub fn logged_whole(&self, number: usize) -> Vec<String> {
        until("the log lines", || Some(self.logged()).filter(|lines| lines.len() >= number))
    }

    /// The lines since the start or the last [`Lab::assert_logged`].
    pub fn logged(&self) -> Vec<String> {
        self.log.since(self.mark)
    }

    /// Forgets the lines logged so far. A line may come a moment after its cause: wait for the last one first.
    pub fn turn_the_page(&mut self) {
        self.mark = self.log.mark();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log: {:#?}", self.log.lines());
            eprintln!("standard error: {}", self.sockd.said());
            eprintln!("sockd runs: {}", self.sockd.runs());
        }
    }
}
