//! Real clients with a password.

use crate::{PASSWORDS, USERS, write_users};
use sockd_tests::far::Server;
use sockd_tests::lab::Lab;
use sockd_tests::site::{SERVER, Site};
use sockd_tests::web;
use std::process::{Command, Output};

pub(crate) struct Place {
    pub(crate) lab: Lab,
    _servers: [Server; 2],
}

pub(crate) fn place() -> Place {
    let site = Site::new();
    write_users(&site.gateway, &USERS);
    let servers = [web::serve(&site.server, (SERVER, 80)), Server::echo(&site.server, (SERVER, 7))];
    let lab = Lab::at(site, PASSWORDS, |start| start);
    Place { lab, _servers: servers }
}

impl Place {
    fn run(&self, program: &str, words: &[&str]) -> Output {
        self.lab.site.client.output(Command::new(program).args(words))
    }

    /// The output of a program that has to succeed and to be known by its user.
    fn said(&mut self, program: &str, words: &[&str]) -> Vec<u8> {
        let output = self.run(program, words);
        self.assert_let_in(&output);
        output.stdout
    }

    /// A program whose password is wrong fails.
    fn assert_refused(&mut self, program: &str, words: &[&str]) {
        let output = self.run(program, words);
        self.assert_kept_out(&output);
    }

    /// Insists that it has succeeded and is known by its user.
    pub(crate) fn assert_let_in(&mut self, output: &Output) {
        assert!(output.status.success(), "{output:?}");
        self.lab.wait_for_line("connected -- Connect from joe(joe)@192.0.2.10 to ");
        self.lab.wait_for_line("bytes from");
        self.lab.turn_the_page();
    }

    /// Insists that it has failed by its password.
    pub(crate) fn assert_kept_out(&mut self, output: &Output) {
        assert!(!output.status.success(), "{output:?}");
        self.lab.wait_for_line("password refused -- joe@192.0.2.10");
        self.lab.turn_the_page();
    }

    fn python(&mut self, script: &str) {
        let script = |password: &str| script.replace("PASSWORD", password);
        assert_eq!(self.said("/usr/bin/python3", &["-c", &script("sesame")]), b"1000\n");
        self.assert_refused("/usr/bin/python3", &["-c", &script("open")]);
    }
}

#[test]
fn curl_logs_in() {
    let mut place = place();
    let words =
        |login| ["-sS", "-U", login, "--socks5-hostname", "192.0.2.1:1080", "http://198.51.100.10/1000"];
    assert_eq!(place.said("curl", &words("joe:sesame")).len(), 1000);
    place.assert_refused("curl", &words("joe:open"));
}

#[test]
fn curl_without_a_password_says_that_no_method_fits() {
    let place = place();
    let output = place.run("curl", &["-sS", "--socks5-hostname", "192.0.2.1:1080", "http://198.51.100.10/"]);
    assert_eq!(output.status.code(), Some(97), "{output:?}");
    place.lab.wait_for_line("no acceptable method of authentication");
}

#[test]
fn ncat_logs_in() {
    let mut place = place();
    let command = |login| {
        format!(
            "printf hello | ncat --proxy 192.0.2.1:1080 --proxy-type socks5 --proxy-auth {login} 198.51.100.10 7"
        )
    };
    assert_eq!(place.said("sh", &["-c", &command("joe:sesame")]), b"hello");
    place.assert_refused("sh", &["-c", &command("joe:open")]);
}

#[test]
fn pysocks_logs_in() {
    place().python(
        "import socks\n\
         s = socks.socksocket()\n\
         s.set_proxy(socks.SOCKS5, '192.0.2.1', 1080, username='joe', password='PASSWORD')\n\
         s.connect(('198.51.100.10', 80))\n\
         s.sendall(b'GET /1000 HTTP/1.0\\r\\n\\r\\n')\n\
         page = b''\n\
         while piece := s.recv(65536): page += piece\n\
         print(len(page.split(b'\\r\\n\\r\\n', 1)[1]))\n",
    );
}

#[test]
fn requests_log_in() {
    place().python(
        "import requests\n\
         proxy = {'http': 'socks5h://joe:PASSWORD@192.0.2.1:1080'}\n\
         print(len(requests.get('http://198.51.100.10/1000', proxies=proxy, timeout=60).content))\n",
    );
}

#[test]
fn wget_logs_in_through_proxychains() {
    let mut place = place();
    let words =
        ["-f", "/run/proxychains.conf", "wget", "-q", "-O", "-", "-t", "1", "http://198.51.100.10/5000"];
    for password in ["sesame", "open"] {
        let chain = format!(
            "strict_chain\nquiet_mode\nproxy_dns\n[ProxyList]\nsocks5 192.0.2.1 1080 joe {password}\n"
        );
        place.lab.site.client.write("/run/proxychains.conf", chain);
        match password {
            "sesame" => assert_eq!(place.said("proxychains4", &words).len(), 5000),
            _ => place.assert_refused("proxychains4", &words),
        }
    }
}
