//! The user lists of a table.

use alloc::string::String;
use alloc::vec::Vec;

use crate::columns::{Span, count};
use crate::strings::StringPool;

/// All user lists. A list is known by its number, counted from 1; number 0 stands for everybody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UserLists {
    /// The items of each list.
    pub(crate) lists: Vec<Span>,
    /// An item is the string of a user id, or the mark [`FILE`] with the place of a file.
    pub(crate) items: Vec<u32>,
    pub(crate) files: Vec<UserFile>,
    /// The strings of the user ids in files, sorted by their bytes within each file.
    pub(crate) file_users: Vec<u32>,
}

/// A file of user ids. It is read once however many lines name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserFile {
    /// The string of the file's path.
    pub(crate) path: u32,
    pub(crate) users: Span,
}

/// Marks an item of a user list as a file.
pub(crate) const FILE: u32 = 1 << 31;

impl UserLists {
    /// Whether a list names a user. No list names an empty id, whatever the list holds.
    pub(crate) fn names(&self, list: u32, user: &[u8], strings: &StringPool) -> bool {
        let Some(list) = list.checked_sub(1) else { return true };
        let Some(span) = self.lists.get(list as usize).filter(|_| !user.is_empty()) else { return false };
        span.of(&self.items).iter().any(|item| match item & FILE {
            0 => strings.bytes(*item) == user,
            _ => {
                let users = self.file_users(*item);
                users.binary_search_by(|text| strings.bytes(*text).cmp(user)).is_ok()
            }
        })
    }

    /// Whether a list names no file. A list of groups cannot name one.
    pub(crate) fn is_without_files(&self, list: u32) -> bool {
        self.items(list).iter().all(|item| item & FILE == 0)
    }

    /// Whether a list names any user at all.
    pub(crate) fn name_anybody(&self, list: u32) -> bool {
        let has_users = |item: &u32| item & FILE == 0 || !self.file_users(*item).is_empty();
        list == 0 || self.items(list).iter().any(has_users)
    }

    /// Whether the list `outer` surely names every user that `inner` names.
    pub(crate) fn cover(&self, outer: u32, inner: u32, strings: &StringPool) -> bool {
        let named = |item: &u32| match item & FILE {
            0 => self.names(outer, strings.bytes(*item), strings),
            _ => self.items(outer).contains(item),
        };
        outer == 0 || outer == inner || (inner != 0 && self.items(inner).iter().all(named))
    }

    /// A user list as a file has it.
    pub(crate) fn word(&self, list: u32, strings: &StringPool) -> String {
        let text = |item: &u32| match item & FILE {
            0 => strings.str(*item),
            _ => self.file(*item).map_or("", |file| strings.str(file.path)),
        };
        self.items(list).iter().map(text).collect::<Vec<_>>().join(",")
    }

    /// Adds a list of items and returns its number.
    pub(crate) fn add(&mut self, items: &[u32]) -> u32 {
        let start = count(&self.items);
        self.items.extend_from_slice(items);
        self.lists.push(Span { start, end: count(&self.items) });
        count(&self.lists)
    }

    /// Adds a file and returns its item.
    pub(crate) fn add_file(&mut self, path: &str, mut users: Vec<&[u8]>, strings: &mut StringPool) -> u32 {
        users.sort_unstable();
        users.dedup();
        let start = count(&self.file_users);
        self.file_users.extend(users.into_iter().map(|user| strings.add(user)));
        let users = Span { start, end: count(&self.file_users) };
        let item = FILE | count(&self.files);
        self.files.push(UserFile { path: strings.add(path.as_bytes()), users });
        item
    }

    /// Adds the path of a file that is read and names nobody.
    pub(crate) fn mention(&mut self, path: &str, strings: &mut StringPool) {
        let end = count(&self.file_users);
        self.files.push(UserFile { path: strings.add(path.as_bytes()), users: Span { start: end, end } });
    }

    fn items(&self, list: u32) -> &[u32] {
        let span = list.checked_sub(1).and_then(|list| self.lists.get(list as usize));
        span.map_or(&[][..], |span| span.of(&self.items))
    }

    /// The file of an item that stands for one.
    fn file(&self, item: u32) -> Option<&UserFile> {
        self.files.get((item ^ FILE) as usize)
    }

    fn file_users(&self, item: u32) -> &[u32] {
        self.file(item).map_or(&[][..], |file| file.users.of(&self.file_users))
    }
}
