//! A real FTP server for active mode, and a real client that asks the proxy for a BIND for each transfer.

use crate::host::Host;
use crate::payload;
use crate::procfs;
use crate::program::Program;
use crate::wait::until_true;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

/// Bytes of the file that is transferred.
pub const LENGTH: u64 = 5_000_000;

/// vsftpd on all addresses, with active mode only, data connections from port 20, and a folder for uploads.
pub fn vsftpd(server: &Host) -> Program {
    server.sh("mkdir -p /run/vsftpd/empty /run/ftp/incoming");
    server.sh("chmod 777 /run/ftp/incoming");
    server.write("/run/ftp/file", file());
    server.write(
        "/etc/vsftpd.conf",
        "listen=YES\nbackground=NO\nanonymous_enable=YES\nlocal_enable=NO\nno_anon_password=YES\n\
         anon_root=/run/ftp\nwrite_enable=YES\nanon_upload_enable=YES\nanon_umask=022\npasv_enable=NO\n\
         connect_from_port_20=YES\nsecure_chroot_dir=/run/vsftpd/empty\n",
    );
    let mut command = Command::new("vsftpd");
    let program = server.start(command.arg("/etc/vsftpd.conf").stdin(Stdio::null()));
    until_true("vsftpd listens", || procfs::listens(server, 21));
    program
}

/// The file that is transferred.
pub fn file() -> Vec<u8> {
    let mut bytes = Vec::new();
    payload::write(&mut bytes, LENGTH).expect("memory");
    bytes
}

/// Directory listing, download and upload with one FTP session of tnftp.
pub fn transfer(client: &Host, server: Ipv4Addr) {
    client.write(
        "/etc/dante.conf",
        "resolveprotocol: fake\nroute {\n from: 0.0.0.0/0 to: 0.0.0.0/0 via: 192.0.2.1 port = 1080\n \
         command: bind connect\n protocol: tcp\n proxyprotocol: socks_v4\n}\n",
    );
    client.write(
        "/run/script",
        format!(
            "open {server}\nuser anonymous joe@example.net\npassive off\nepsv4 off\nbinary\ndir\n\
             get file /run/got\nput /run/got incoming/{server}\nbye\n"
        ),
    );
    // A shell for the redirection of standard input only.
    let words = ["60", "sh", "-c", "exec socksify tnftp -A -n -v -i </run/script"];
    let output = client.output(Command::new("timeout").args(words));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}: {said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches("226 ").count(), 3, "{said}");
}
