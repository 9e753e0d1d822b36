//! Random requests of tiers 0 and 1, each with what of its reply must be equal.

use firn_tests::Choices;

/// What must be equal of two replies; everything, where nothing is said. docs/PROTOCOL.md names these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Equal {
    /// Every byte.
    Exact,
    /// *time*: numbers above 0 differ by less than this; all else exactly.
    Near(i64),
    /// *order*: the elements, whatever their order.
    AnyOrder,
    /// *identity*: the kind of reply and its length, where it is an aggregate.
    Kind,
    /// *identity*: everything but the number behind `id`.
    Hello,
    /// *identity*: of each line of CLIENT LIST the fields that say what the client has set.
    Clients,
    /// *identity*: of INFO the titles of the sections and the lines that clients look for.
    Info,
}

/// A request with what must be equal of its reply.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) words: Vec<Vec<u8>>,
    pub(crate) equal: Equal,
    /// Whether no reply comes.
    pub(crate) silent: bool,
}

impl Request {
    fn new(words: Vec<Vec<u8>>, equal: Equal) -> Self {
        Self { words, equal, silent: false }
    }

    /// A request written as one line, words between single blanks.
    pub(crate) fn line(line: &str, equal: Equal) -> Self {
        Self::new(line.split(' ').map(|word| word.as_bytes().to_vec()).collect(), equal)
    }

    fn silent(line: &str) -> Self {
        Self { silent: true, ..Self::line(line, Equal::Exact) }
    }
}

/// Words that are wrong almost everywhere. None is empty, since an empty key is a listed difference.
const WRONG: [&str; 9] =
    ["abc", "-1", "1.5", "+1", "01", " 1", "9223372036854775808", "-9223372036854775808", "NX"];

/// How far two clocks, and two moments in one test, may be apart.
const SECONDS_APART: i64 = 60;

/// Makes requests.
#[derive(Debug)]
pub(crate) struct Requests {
    pub(crate) choices: Choices,
    /// Unix seconds, far enough ahead that nothing expires while the test runs.
    pub(crate) later: i64,
}

impl Requests {
    fn key(&mut self) -> Vec<u8> {
        match self.choices.below(10) {
            0..5 => format!("key:{}", self.choices.below(8)).into_bytes(),
            5..9 => self.tagged(),
            _ => [b"\x00\r\n\xff".as_slice(), &[b'a' + self.choices.below(3) as u8]].concat(),
        }
    }

    /// A key of the one partition that `{t}` is in.
    fn tagged(&mut self) -> Vec<u8> {
        format!("{{t}}{}", self.choices.below(6)).into_bytes()
    }

    fn value(&mut self) -> Vec<u8> {
        match self.choices.below(8) {
            0..3 => self.choices.between(-50, 20_000).to_string().into_bytes(),
            3 => self.float(),
            4 => b"9223372036854775800".to_vec(),
            5 => self.choices.bytes(60),
            6 => self.choices.bytes(3_000),
            _ => b"some text".to_vec(),
        }
    }

    fn float(&mut self) -> Vec<u8> {
        let (whole, part) = (self.choices.between(-999, 999), self.choices.below(100_000));
        match self.choices.below(4) {
            0 => format!("{whole}.{part}"),
            1 => format!("{whole}.{part}e{}", self.choices.between(-12, 12)),
            2 => format!("{whole}"),
            _ => format!("0.{part}"),
        }
        .into_bytes()
    }

    fn integer(&mut self) -> Vec<u8> {
        match self.choices.below(6) {
            0 => b"9223372036854775807".to_vec(),
            1 => b"-9223372036854775807".to_vec(),
            _ => self.choices.between(-100, 100).to_string().into_bytes(),
        }
    }

    fn offset(&mut self) -> Vec<u8> {
        self.choices.between(-20, 200).to_string().into_bytes()
    }

    /// A time to live that does not end meanwhile and is hardly drawn twice.
    fn seconds(&mut self) -> i64 {
        self.choices.between(1_000_000, 900_000_000)
    }

    fn time(&mut self, option: &str) -> Vec<u8> {
        let seconds = self.seconds();
        match option {
            "EX" => seconds,
            "PX" => seconds * 1_000 + 7,
            "EXAT" => self.later + seconds,
            _ => (self.later + seconds) * 1_000 + 7,
        }
        .to_string()
        .into_bytes()
    }

    fn set(&mut self, key: Vec<u8>) -> Vec<Vec<u8>> {
        let mut words = vec![b"SET".to_vec(), key, self.value()];
        for _ in 0..self.choices.below(3) {
            let option =
                self.choices.of(&["NX", "XX", "GET", "KEEPTTL", "EX", "PX", "EXAT", "PXAT", "get"]);
            words.push(option.as_bytes().to_vec());
            if ["EX", "PX", "EXAT", "PXAT"].contains(&option) {
                words.push(self.time(option));
            }
        }
        words
    }

    fn expire(&mut self, key: Vec<u8>) -> Vec<Vec<u8>> {
        let (command, option) = self.choices.of(&[
            &("EXPIRE", "EX"),
            &("PEXPIRE", "PX"),
            &("EXPIREAT", "EXAT"),
            &("pexpireat", "PXAT"),
        ]);
        let time = match self.choices.below(10) {
            0 => b"-5".to_vec(),
            1 => b"0".to_vec(),
            2 if *option == "EX" => b"9223372036854775807".to_vec(),
            _ => self.time(option),
        };
        let mut words = vec![command.as_bytes().to_vec(), key, time];
        for _ in 0..self.choices.below(3) {
            words.push(self.choices.of(&["NX", "XX", "GT", "LT", "gt"]).as_bytes().to_vec());
        }
        words
    }

    /// A request about one key.
    pub(crate) fn one_key(&mut self, key: Vec<u8>) -> Request {
        let name = self.choices.of(&[
            "SET",
            "SET",
            "GET",
            "get",
            "SETNX",
            "SETEX",
            "PSETEX",
            "GETSET",
            "GETDEL",
            "GETEX",
            "INCR",
            "DECR",
            "INCRBY",
            "DECRBY",
            "INCRBYFLOAT",
            "APPEND",
            "STRLEN",
            "GETRANGE",
            "SUBSTR",
            "SETRANGE",
            "TYPE",
            "TTL",
            "PTTL",
            "EXPIRETIME",
            "PEXPIRETIME",
            "EXPIRE",
            "EXPIRE",
            "PERSIST",
            "MEMORY",
            "OBJECT",
        ]);
        let word = |text: &str| text.as_bytes().to_vec();
        let mut words = vec![word(name), key.clone()];
        let mut equal = Equal::Exact;
        match name {
            "SET" => words = self.set(key),
            "EXPIRE" => words = self.expire(key),
            "SETNX" | "GETSET" | "APPEND" => words.push(self.value()),
            "SETEX" => words.extend([self.time("EX"), self.value()]),
            "PSETEX" => words.extend([self.time("PX"), self.value()]),
            "GETEX" => match self.choices.below(4) {
                0 => {}
                1 => words.push(word("PERSIST")),
                _ => {
                    let option = self.choices.of(&["EX", "PX", "EXAT", "PXAT"]);
                    words.extend([word(option), self.time(option)]);
                }
            },
            "INCRBY" | "DECRBY" => words.push(self.integer()),
            "INCRBYFLOAT" => words.push(self.float()),
            "GETRANGE" | "SUBSTR" => words.extend([self.offset(), self.offset()]),
            "SETRANGE" => words.extend([self.offset(), self.value()]),
            "TTL" | "EXPIRETIME" => equal = Equal::Near(SECONDS_APART),
            "PTTL" | "PEXPIRETIME" => equal = Equal::Near(SECONDS_APART * 1_000),
            "MEMORY" => {
                words.insert(1, word("USAGE"));
                equal = Equal::Kind;
            }
            "OBJECT" => {
                words.insert(1, word(self.choices.of(&["IDLETIME", "FREQ"])));
                equal = Equal::Kind;
            }
            _ => {}
        }
        Request::new(words, equal)
    }

    /// A request about several keys.
    fn many_keys(&mut self) -> Request {
        let name = self.choices.of(&[
            "MGET", "MGET", "MSET", "MSETNX", "DEL", "UNLINK", "EXISTS", "TOUCH", "RENAME",
            "RENAMENX", "COPY", "COPY",
        ]);
        let mut words = vec![name.as_bytes().to_vec()];
        match name {
            "MSET" | "MSETNX" => {
                for _ in 0..1 + self.choices.below(3) {
                    let key = if name == "MSET" { self.key() } else { self.tagged() };
                    words.extend([key, self.value()]);
                }
            }
            "RENAME" | "RENAMENX" => words.extend([self.key(), self.key()]),
            "COPY" => {
                words.extend([self.key(), self.key()]);
                if self.choices.one_in(3) {
                    words.push(b"REPLACE".to_vec());
                }
                if self.choices.one_in(3) {
                    let number = self.choices.of(&["0", "1", "2", "99", "x"]);
                    words.extend([b"DB".to_vec(), number.as_bytes().to_vec()]);
                }
            }
            _ => {
                for _ in 0..1 + self.choices.below(5) {
                    words.push(self.key());
                }
            }
        }
        Request::new(words, Equal::Exact)
    }

    /// A request about a connection, a database or the server.
    fn other(&mut self) -> Request {
        let exact = |line: &str| Request::line(line, Equal::Exact);
        match self.choices.below(40) {
            0 => exact("FLUSHDB"),
            1 if self.choices.one_in(4) => exact("FLUSHALL ASYNC"),
            2..5 => exact(&format!("SELECT {}", self.choices.below(3))),
            5..8 => exact("DBSIZE"),
            8 => exact("DBSIZE x"),
            9..12 => Request::line(
                &format!(
                    "KEYS {}",
                    self.choices
                        .of(&["*", "key:?", "{t}[0-3]", "*[^1-4]", "\\{t}*", "nothing", "key:[24"])
                ),
                Equal::AnyOrder,
            ),
            12 => Request::line("TIME", Equal::Kind),
            13 => Request::line("CLIENT ID", Equal::Kind),
            14 => Request::line("CLIENT INFO", Equal::Clients),
            15 => Request::line("CLIENT LIST ID 999999999", Equal::Exact),
            16 => exact(&format!("CLIENT SETNAME name{}", self.choices.below(9))),
            17 => exact("CLIENT GETNAME"),
            18 => Request::line("INFO", Equal::Info),
            19 => Request::line("INFO keyspace", Equal::Info),
            20 => Request::line(
                &format!("INFO {}", self.choices.of(&["server", "nothing", "replication clients"])),
                Equal::Info,
            ),
            21 => exact(self.choices.of(&[
                "CONFIG GET maxmemory",
                "CONFIG GET databases nothing",
                "CONFIG SET maxmemory 0",
                "CONFIG SET nothing 1",
                "CONFIG RESETSTAT",
            ])),
            22 => Request::line("CONFIG GET save maxmemory databases", Equal::AnyOrder),
            23 => exact(self.choices.of(&["PING", "PING word", "ECHO word", "PING a b"])),
            24 => {
                exact(self.choices.of(&["AUTH x", "AUTH default x", "AUTH other x", "AUTH a b c"]))
            }
            25 => exact(self.choices.of(&[
                "HELLO 4",
                "HELLO x",
                "HELLO 2 WORD",
                "HELLO 2 AUTH a b",
                "HELLO 3 SETNAME",
            ])),
            26 => exact(self.choices.of(&[
                "NOTHING",
                "NOTHING a b",
                "CLIENT NOTHING",
                "CLIENT MAINT_NOTIFICATIONS ON",
                "OBJECT NOTHING",
                "MEMORY NOTHING k",
                "COMMAND NOTHING",
                "CONFIG NOTHING",
            ])),
            27 => exact(self.choices.of(&[
                "CLIENT KILL 1.1.1.1:1",
                "CLIENT KILL ID 999999999",
                "CLIENT KILL ID x",
                "CLIENT KILL TYPE x",
                "CLIENT KILL USER x",
                "CLIENT KILL LADDR 1.1.1.1:1 TYPE normal",
                "CLIENT KILL TYPE pubsub",
                "CLIENT KILL x y",
            ])),
            28 => exact(self.choices.of(&[
                "CLIENT NO-EVICT ON",
                "CLIENT NO-EVICT x",
                "CLIENT REPLY x",
                "CLIENT REPLY ON",
                "CLIENT LIST TYPE x",
                "CLIENT LIST x",
                "CLIENT LIST ID x",
                "CLIENT LIST TYPE replica",
            ])),
            29 => exact(self.choices.of(&[
                "COMMAND GETKEYS GET k",
                "COMMAND GETKEYS MSET a 1 b 2",
                "COMMAND GETKEYS GET",
                "COMMAND GETKEYS GET a b",
                "COMMAND GETKEYS NOTHING a",
                "COMMAND GETKEYS CLIENT ID",
                "COMMAND GETKEYS RENAME a b",
                "COMMAND GETKEYS OBJECT FREQ k",
                "COMMAND GETKEYS WATCH a b",
            ])),
            30 => exact(self.choices.of(&[
                "COMMAND LIST FILTERBY MODULE x",
                "COMMAND LIST FILTERBY",
                "COMMAND LIST x",
                "COMMAND DOCS nothing",
                "COMMAND INFO nothing",
            ])),
            31 => Request::line(
                self.choices.of(&[
                    "COMMAND LIST FILTERBY PATTERN gets*",
                    "COMMAND LIST FILTERBY ACLCAT transaction",
                    "COMMAND LIST FILTERBY PATTERN msetn?",
                ]),
                Equal::AnyOrder,
            ),
            32..35 => exact(self.choices.of(&[
                "SCAN x",
                "SCAN 0 COUNT 0",
                "SCAN 0 COUNT x",
                "SCAN 0 MATCH",
                "SCAN 0 x y",
                "SCAN 0 TYPE list COUNT 1000",
                "SCAN 18446744073709551616",
            ])),
            35 => exact(self.choices.of(&[
                "UNWATCH",
                "DISCARD",
                "EXEC",
                "FLUSHDB x",
                "FLUSHALL SYNC x",
                "SELECT 16",
                "SELECT x",
                "SELECT -1",
                "SELECT 4294967296",
            ])),
            36 => exact(self.choices.of(&[
                "MEMORY USAGE k SAMPLES x",
                "MEMORY USAGE k SAMPLES -1",
                "MEMORY USAGE k x 1",
                "OBJECT ENCODING k x",
            ])),
            _ => self.many_keys(),
        }
    }

    /// Takes a word away, adds one, or replaces one that is no key.
    fn spoil(&mut self, request: &mut Request) {
        let words = &mut request.words;
        match self.choices.below(3) {
            0 if words.len() > 1 => drop(words.pop()),
            1 if words.len() > 2 && words[0] != b"MSETNX" && words[0] != b"MSET" => {
                let at = 2 + self.choices.below(words.len() as u64 - 2) as usize;
                words[at] = self.choices.of(&WRONG).as_bytes().to_vec();
            }
            _ => words.push(self.choices.of(&WRONG).as_bytes().to_vec()),
        }
    }

    /// What is sent together next: one request, or some that belong together.
    pub(crate) fn next(&mut self) -> Vec<Request> {
        match self.choices.below(100) {
            0..5 => self.transaction(),
            5 => self.replies_off(),
            6 => self.objects(),
            7 => {
                let proto = self.choices.of(&[
                    "HELLO 2",
                    "HELLO 3",
                    "HELLO 3 AUTH default x SETNAME me",
                    "hello",
                ]);
                vec![Request::line(proto, Equal::Hello)]
            }
            8 if self.choices.one_in(5) => vec![Request::line("RESET", Equal::Exact)],
            8..18 => vec![self.other()],
            18..30 => vec![self.many_keys()],
            30..40 => {
                let mut request =
                    if self.choices.one_in(3) { self.many_keys() } else { self.any_key() };
                self.spoil(&mut request);
                vec![request]
            }
            _ => vec![self.any_key()],
        }
    }

    fn any_key(&mut self) -> Request {
        let key = self.key();
        self.one_key(key)
    }

    /// How a value is held is told for values written whole only.
    fn objects(&mut self) -> Vec<Request> {
        let (key, value) = (self.key(), self.value());
        let about = |what: &str| vec![b"OBJECT".to_vec(), what.as_bytes().to_vec(), key.clone()];
        let set = vec![b"SET".to_vec(), key.clone(), value];
        [set, about("ENCODING"), about("REFCOUNT")]
            .map(|words| Request::new(words, Equal::Exact))
            .to_vec()
    }

    /// Replies that do not come, and one that does again.
    fn replies_off(&mut self) -> Vec<Request> {
        let mut quiet = self.any_key();
        quiet.silent = true;
        if self.choices.one_in(2) {
            return vec![Request::silent("CLIENT REPLY SKIP"), quiet];
        }
        vec![
            Request::silent("CLIENT REPLY OFF"),
            quiet,
            Request::silent("CLIENT REPLY SKIP"),
            Request::silent("NOTHING"),
            Request::line("CLIENT REPLY ON", Equal::Exact),
        ]
    }

    /// MULTI up to EXEC or DISCARD; behind WATCH only keys of one partition.
    fn transaction(&mut self) -> Vec<Request> {
        let exact = |line: &str| Request::line(line, Equal::Exact);
        let mut all = Vec::new();
        let watched = self.choices.one_in(2);
        if watched {
            let key = self.tagged();
            all.push(Request::new(vec![b"WATCH".to_vec(), key.clone()], Equal::Exact));
            if self.choices.one_in(3) {
                all.push(Request::new(vec![b"SET".to_vec(), key, self.value()], Equal::Exact));
            }
        }
        all.push(exact("MULTI"));
        for _ in 0..self.choices.below(8) {
            let request = self.queued(watched);
            all.push(request);
        }
        if self.choices.one_in(12) {
            all.push(exact(self.choices.of(&["NOTHING", "GET", "MULTI", "WATCH a", "CLIENT x"])));
        }
        all.push(exact(if self.choices.one_in(8) { "DISCARD" } else { "EXEC" }));
        all.push(exact("UNWATCH"));
        all
    }

    /// A request whose reply within EXEC's must be equal to the byte.
    fn queued(&mut self, tagged: bool) -> Request {
        loop {
            let request = match self.choices.below(10) {
                0 => Request::line(
                    self.choices.of(&[
                        "PING",
                        "ECHO word",
                        "DBSIZE",
                        "SELECT 1",
                        "SELECT 0",
                        "UNWATCH",
                        "CLIENT GETNAME",
                        "INFO nothing",
                    ]),
                    Equal::Exact,
                ),
                1..3 if !tagged => self.many_keys(),
                _ => {
                    let key = if tagged { self.tagged() } else { self.key() };
                    self.one_key(key)
                }
            };
            if request.equal == Equal::Exact {
                return request;
            }
        }
    }
}
