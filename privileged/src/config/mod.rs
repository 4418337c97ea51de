//! How options and files become settings, rules and routes.

pub mod options;
pub mod pid_file;
pub mod read;
pub mod settings_file;
pub mod trusted_file;
