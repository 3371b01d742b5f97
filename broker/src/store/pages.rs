//! The pages of a redb file, read without redb: what can be had of a damaged one.
//!
//! redb opens a file as a whole or not at all, and reads pages without looking at their checksums.
//! Here every page is reached through its parent, which holds its checksum, so that whatever is
//! handed out was written so; a page that is damaged costs what is below it, and nothing else. The
//! format is redb's file format 3 (`docs/design.md` of redb 4.6). Only reads, never panics, and
//! reads of each tree no more than twice the length of the file.

use std::collections::BTreeMap;
use std::io;

use redb::StorageBackend;
use twox_hash::XxHash3_128;

/// redb's page size, which is part of the format as Outpost uses it.
const PAGE_BYTES: u64 = 4096;
/// Pages of a region where the header does not say.
const REGION_PAGES: u64 = 1 << 20;
const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";
const REGION_HEADER_PAGES_AT: usize = 16;
const REGION_PAGES_AT: usize = 20;
const SLOTS_AT: [usize; 2] = [64, 192];
const SLOT_BYTES: usize = 128;
const SLOT_CHECKSUM_AT: usize = SLOT_BYTES - CHECKSUM_BYTES;
const SLOT_ROOT_AT: usize = 8;
const SLOT_BOOKKEEPING_AT: usize = SLOT_ROOT_AT + TREE_BYTES;
const SLOT_TRANSACTION_AT: usize = 104;
const HEADER_BYTES: usize = SLOTS_AT[1] + SLOT_BYTES;

const CHECKSUM_BYTES: usize = 16;
const PAGE_NUMBER_BYTES: usize = 8;
/// Page number, checksum, number of rows.
const TREE_BYTES: usize = PAGE_NUMBER_BYTES + CHECKSUM_BYTES + 8;

const LEAF: u8 = 1;
const BRANCH: u8 = 2;
const FORMAT_VERSION: u8 = 3;
const NORMAL_TABLE: u8 = 3;

/// A damaged file may have many old lists of tables lying about; so many are looked at.
const TABLE_LISTS_MAX: usize = 256;

/// A tree of rows: its root, and what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    root: Child,
    /// How many rows it had when it was written.
    pub(super) rows: u64,
    key_width: Option<usize>,
    value_width: Option<usize>,
}

/// Trees by the names of their tables; none: the table has no rows.
pub(super) type Tables = BTreeMap<String, Option<Tree>>;

/// What was found in a file.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) tables: Tables,
    /// Pages of them that cannot be read, or have a wrong checksum.
    pub(super) damaged: u64,
    /// Likewise pages of redb's own tables, which hold nothing of ours. It cannot open the file.
    pub(super) bookkeeping_damaged: u64,
}

/// An entry of the header.
struct Commit {
    transaction: Option<u64>,
    tables: Option<Tree>,
    bookkeeping: Option<Tree>,
}

/// Where a page is, and what it must hash to.
#[derive(Clone, Copy, Debug)]
struct Child {
    page: u64,
    checksum: u128,
}

/// A file of redb's.
#[derive(Debug)]
pub(super) struct Pages<'f> {
    file: &'f dyn StorageBackend,
    len: u64,
    header: Vec<u8>,
    region_header_pages: u64,
    region_pages: u64,
}

impl<'f> Pages<'f> {
    /// Looks at the header. A file without one has pages all the same.
    pub(super) fn new(file: &'f dyn StorageBackend) -> io::Result<Self> {
        let len = file.len()?;
        let mut header = vec![0; HEADER_BYTES.min(usize::try_from(len).unwrap_or(usize::MAX))];
        if file.read(0, &mut header).is_err() {
            header.clear(); // A sector that cannot be read: the rest may be.
        }
        header.resize(HEADER_BYTES, 0);
        let mut pages =
            Self { file, len, header, region_header_pages: 0, region_pages: REGION_PAGES };
        if pages.header.starts_with(MAGIC) {
            let headers = u64::from(u32_at(&pages.header, REGION_HEADER_PAGES_AT).unwrap_or(0));
            let data = u64::from(u32_at(&pages.header, REGION_PAGES_AT).unwrap_or(0));
            if headers <= REGION_PAGES && (1..=REGION_PAGES).contains(&data) {
                (pages.region_header_pages, pages.region_pages) = (headers, data);
            }
        }
        Ok(pages)
    }

    /// The tables as they can best be had: of the last commit or the one before it, whichever is the
    /// more whole; where the file knows neither, of the newest list of tables that is found in any
    /// page.
    pub(super) fn tables(&self, names: &[&str]) -> Found {
        let mut best: Option<Found> = None;
        for commit in self.commits() {
            let found = self.found(&commit);
            // Of those that are equally damaged the first, which is the newer.
            if !found.tables.is_empty()
                && best.as_ref().is_none_or(|best| found.damaged < best.damaged)
            {
                best = Some(found);
            }
            if best.as_ref().is_some_and(|best| best.damaged == 0) {
                break;
            }
        }
        best.unwrap_or_else(|| self.find_tables(names))
    }

    fn found(&self, commit: &Commit) -> Found {
        let (tables, lists_damaged) = self.tables_of(commit.tables.as_ref());
        let (bookkeeping, bookkeeping_lists_damaged) = self.tables_of(commit.bookkeeping.as_ref());
        Found {
            damaged: lists_damaged + self.damaged(&tables),
            bookkeeping_damaged: bookkeeping_lists_damaged + self.damaged(&bookkeeping),
            tables,
        }
    }

    /// Hands every row that can be read to `take`, in the order of the keys; gives the number of
    /// damaged pages.
    pub(super) fn rows(&self, tree: &Tree, take: &mut dyn FnMut(&[u8], &[u8])) -> u64 {
        let mut damaged = 0;
        // No tree is larger than the file; what a damaged branch names may be.
        let mut bytes_left = self.len.saturating_mul(2);
        let mut path = vec![tree.root];
        while let Some(child) = path.pop() {
            let len = self.place(child.page).map_or(0, |(_, len)| len);
            let node = if len <= bytes_left { self.node(child, tree) } else { None };
            bytes_left = bytes_left.saturating_sub(len);
            match node {
                Some(Node::Leaf(page)) => {
                    leaf_rows(&page, tree).for_each(|(key, value)| take(key, value));
                }
                Some(Node::Branch { children, is_sound }) => {
                    damaged += u64::from(!is_sound);
                    path.extend(children.into_iter().rev());
                }
                None => damaged += 1,
            }
        }
        damaged
    }

    /// The last two commits whose entry in the header is sound, newest first.
    fn commits(&self) -> Vec<Commit> {
        let slots = SLOTS_AT.iter().filter_map(|at| self.header.get(*at..*at + SLOT_BYTES));
        let sound = slots.filter(|slot| {
            slot[0] == FORMAT_VERSION
                && u128_at(slot, SLOT_CHECKSUM_AT) == Some(hash(&slot[..SLOT_CHECKSUM_AT]))
        });
        let root = |slot: &[u8], flag: u8, at| (flag != 0).then(|| tree_at(slot, at, None, None));
        let mut commits: Vec<_> = sound
            .map(|slot| Commit {
                transaction: u64_at(slot, SLOT_TRANSACTION_AT),
                tables: root(slot, slot[1], SLOT_ROOT_AT).flatten(),
                bookkeeping: root(slot, slot[2], SLOT_BOOKKEEPING_AT).flatten(),
            })
            .collect();
        commits.sort_by_key(|commit| std::cmp::Reverse(commit.transaction));
        commits
    }

    /// The tables that a list names, and how many pages of the list are damaged.
    fn tables_of(&self, list: Option<&Tree>) -> (Tables, u64) {
        let mut tables = Tables::new();
        let damaged = list.map_or(0, |list| {
            self.rows(list, &mut |name, definition| {
                if let Some((name, tree)) = table_of(name, definition) {
                    tables.insert(name, tree);
                }
            })
        });
        (tables, damaged)
    }

    /// Looks through all pages for lists of tables that hold all of `names`, and takes the one that
    /// most of the tables can be read by; among those the one that reaches furthest.
    fn find_tables(&self, names: &[&str]) -> Found {
        let mut best = (Tables::new(), (0, Vec::new()));
        let mut looked_at = 0;
        for at in 1..self.len / PAGE_BYTES {
            let mut page = vec![0; PAGE_BYTES as usize];
            if self.file.read(at * PAGE_BYTES, &mut page).is_err() {
                continue;
            }
            let Some(tables) = table_list(&page, names) else { continue };
            let rank = self.rank(&tables, names);
            if rank > best.1 {
                best = (tables, rank);
            }
            looked_at += 1;
            if looked_at == TABLE_LISTS_MAX {
                break;
            }
        }
        // The header itself is one more.
        let damaged = 1 + self.damaged(&best.0);
        Found { tables: best.0, damaged, bookkeeping_damaged: 0 }
    }

    /// The damaged pages of all tables together.
    fn damaged(&self, tables: &Tables) -> u64 {
        tables.values().flatten().map(|tree| self.rows(tree, &mut |_, _| {})).sum()
    }

    /// How many of the tables have a sound root, and the last keys of them. The pages of a list that
    /// is no longer in use may be those of other tables by now.
    fn rank(&self, tables: &Tables, names: &[&str]) -> (usize, Vec<Vec<u8>>) {
        let trees = || names.iter().filter_map(|name| tables.get(*name)?.as_ref());
        let is_sound = |tree: &&Tree| self.sound_node(tree.root, tree).is_some();
        let sound = trees().filter(is_sound).count();
        (sound, trees().map(|tree| self.last_key(tree).unwrap_or_default()).collect())
    }

    /// The last key of a tree, backwards: as numbers of redb's are little-endian, it sorts so.
    fn last_key(&self, tree: &Tree) -> Option<Vec<u8>> {
        let mut child = tree.root;
        for _ in 0..u64::BITS {
            match self.sound_node(child, tree)? {
                Node::Leaf(page) => {
                    return leaf_rows(&page, tree)
                        .last()
                        .map(|(key, _)| key.iter().rev().copied().collect());
                }
                Node::Branch { children, .. } => child = *children.last()?,
            }
        }
        None
    }

    /// Reads a page and holds it against its checksum. A branch that is damaged is taken all the
    /// same: its children prove themselves, each by its own checksum.
    fn node(&self, child: Child, tree: &Tree) -> Option<Node> {
        let (at, len) = self.place(child.page)?;
        let mut page = vec![0; usize::try_from(len).ok()?];
        self.file.read(at, &mut page).ok()?;
        let used = match page[0] {
            LEAF => leaf_len(&page, tree.key_width, tree.value_width)?,
            BRANCH => branch_len(&page, tree.key_width)?,
            _ => return None,
        };
        let is_sound = page.get(..used).is_some_and(|page| hash(page) == child.checksum);
        match page[0] {
            BRANCH => Some(Node::Branch { children: children(&page)?, is_sound }),
            _ => is_sound.then_some(Node::Leaf(page)),
        }
    }

    fn sound_node(&self, child: Child, tree: &Tree) -> Option<Node> {
        self.node(child, tree).filter(|node| !matches!(node, Node::Branch { is_sound: false, .. }))
    }

    /// Offset and length of a page in the file; none if it is not inside.
    fn place(&self, number: u64) -> Option<(u64, u64)> {
        let order = number >> 59;
        let index = number & (0xf_ffff >> order);
        let region = number >> 20 & 0xf_ffff;
        let region_bytes = (self.region_header_pages + self.region_pages) * PAGE_BYTES;
        let len = PAGE_BYTES.checked_shl(u32::try_from(order).ok()?)?;
        let at = PAGE_BYTES
            .checked_add(region.checked_mul(region_bytes)?)?
            .checked_add(self.region_header_pages * PAGE_BYTES)?
            .checked_add(index.checked_mul(len)?)?;
        (at.checked_add(len)? <= self.len).then_some((at, len))
    }
}

enum Node {
    Leaf(Vec<u8>),
    Branch { children: Vec<Child>, is_sound: bool },
}

fn hash(bytes: &[u8]) -> u128 {
    XxHash3_128::oneshot(bytes)
}

// ---- the parts of a page

fn count(page: &[u8]) -> Option<usize> {
    Some(usize::from(u16::from_le_bytes(page.get(2..4)?.try_into().ok()?)))
}

/// The bytes of a leaf that count: rows and what tells where they are.
fn leaf_len(page: &[u8], key_width: Option<usize>, value_width: Option<usize>) -> Option<usize> {
    let last = count(page)?.checked_sub(1)?;
    leaf_bounds(page, last, key_width, value_width).map(|(_, value)| value.end)
}

type Span = std::ops::Range<usize>;

/// Where the key and the value of a row are.
fn leaf_bounds(
    page: &[u8],
    n: usize,
    key_width: Option<usize>,
    value_width: Option<usize>,
) -> Option<(Span, Span)> {
    let rows = count(page)?;
    let ends = |width: Option<usize>| if width.is_none() { 4 * rows } else { 0 };
    let keys_at = 4 + ends(key_width) + ends(value_width);
    let key_end = |n: usize| match key_width {
        Some(width) => Some(keys_at + width.checked_mul(n + 1)?),
        None => u32_at(page, 4 + 4 * n).map(|end| end as usize),
    };
    let values_at = key_end(rows.checked_sub(1)?)?;
    let value_end = |n: usize| match value_width {
        Some(width) => values_at.checked_add(width.checked_mul(n + 1)?),
        None => u32_at(page, 4 + ends(key_width) + 4 * n).map(|end| end as usize),
    };
    let start = |at: usize, end: &dyn Fn(usize) -> Option<usize>| match n {
        0 => Some(at),
        n => end(n - 1),
    };
    Some((start(keys_at, &key_end)?..key_end(n)?, start(values_at, &value_end)?..value_end(n)?))
}

fn leaf_rows<'p>(page: &'p [u8], tree: &Tree) -> impl Iterator<Item = (&'p [u8], &'p [u8])> {
    let (key_width, value_width) = (tree.key_width, tree.value_width);
    (0..count(page).unwrap_or(0)).filter_map(move |n| {
        let (key, value) = leaf_bounds(page, n, key_width, value_width)?;
        Some((page.get(key)?, page.get(value)?))
    })
}

/// The bytes of a branch that count.
fn branch_len(page: &[u8], key_width: Option<usize>) -> Option<usize> {
    let keys = count(page)?;
    let keys_at = 8 + (CHECKSUM_BYTES + PAGE_NUMBER_BYTES) * (keys + 1);
    match key_width {
        Some(width) => keys_at.checked_add(width.checked_mul(keys)?),
        None => u32_at(page, keys_at + 4 * keys.checked_sub(1)?).map(|end| end as usize),
    }
}

fn children(page: &[u8]) -> Option<Vec<Child>> {
    let children = count(page)? + 1;
    let pages_at = 8 + CHECKSUM_BYTES * children;
    let child = |n| {
        let checksum = u128_at(page, 8 + CHECKSUM_BYTES * n)?;
        Some(Child { page: u64_at(page, pages_at + PAGE_NUMBER_BYTES * n)?, checksum })
    };
    (0..children).map(child).collect()
}

/// A page that is a list of tables with all of `names` in it.
fn table_list(page: &[u8], names: &[&str]) -> Option<Tables> {
    if page[0] != LEAF || leaf_len(page, None, None)? > page.len() {
        return None;
    }
    let rows = (0..count(page)?).map(|n| {
        let (key, value) = leaf_bounds(page, n, None, None)?;
        table_of(page.get(key)?, page.get(value)?)
    });
    let tables: Tables = rows.collect::<Option<_>>()?;
    names.iter().all(|name| tables.contains_key(*name)).then_some(tables)
}

/// A row of the list of tables.
fn table_of(name: &[u8], definition: &[u8]) -> Option<(String, Option<Tree>)> {
    const ROOT_AT: usize = 10;
    const WIDTHS_AT: usize = ROOT_AT + TREE_BYTES;
    if *definition.first()? != NORMAL_TABLE {
        return None;
    }
    let width = |at: usize| match definition.get(at)? {
        0 => Some(None),
        _ => Some(Some(u32_at(definition, at + 1)? as usize)),
    };
    let (key_width, value_width) = (width(WIDTHS_AT)?, width(WIDTHS_AT + 5)?);
    let tree = match definition.get(ROOT_AT - 1)? {
        0 => None,
        _ => Some(tree_at(definition, ROOT_AT, key_width, value_width)?),
    };
    Some((std::str::from_utf8(name).ok()?.to_owned(), tree))
}

fn tree_at(
    bytes: &[u8],
    at: usize,
    key_width: Option<usize>,
    value_width: Option<usize>,
) -> Option<Tree> {
    let checksum = u128_at(bytes, at + PAGE_NUMBER_BYTES)?;
    let rows = u64_at(bytes, at + PAGE_NUMBER_BYTES + CHECKSUM_BYTES)?;
    Some(Tree { root: Child { page: u64_at(bytes, at)?, checksum }, rows, key_width, value_width })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_le_bytes)
}

fn u128_at(bytes: &[u8], at: usize) -> Option<u128> {
    bytes.get(at..at.checked_add(16)?)?.try_into().ok().map(u128::from_le_bytes)
}
