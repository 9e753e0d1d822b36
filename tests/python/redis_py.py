"""redis-py against a cluster: every argument is the port of one worker.

Each call goes to another worker, in RESP2 and in RESP3, so whatever one has written another one reads.
"""

import itertools
import sys
import time

import redis


def clients(ports, protocol):
    """Clients of all workers in turn, for ever."""
    made = [
        redis.Redis(port=port, protocol=protocol, client_name=f"py-{protocol}", socket_timeout=10)
        for port in ports
    ]
    return itertools.cycle(made)


def strings(any_worker):
    def r():
        return next(any_worker)

    r().flushall()
    assert r().set("greeting", "hello") is True
    assert r().get("greeting") == b"hello"
    assert r().set("greeting", "again", nx=True) is None
    assert r().set("greeting", "again", get=True) == b"hello"
    assert r().append("greeting", "!") == 6
    assert r().getrange("greeting", 0, 2) == b"aga"
    assert r().setrange("greeting", 1, "G") == 6
    assert r().strlen("greeting") == 6
    assert r().incr("count") == 1 and r().incrby("count", 41) == 42 and r().decr("count") == 41
    assert r().incrbyfloat("fraction", 0.1) == 0.1
    assert r().mset({f"key:{n}": n for n in range(100)}) is True
    assert r().mget([f"key:{n}" for n in range(100)]) == [str(n).encode() for n in range(100)]
    assert r().msetnx({"{t}a": 1, "{t}b": 2}) is True
    assert r().getdel("{t}a") == b"1" and r().getex("{t}b", ex=100) == b"2"
    assert r().exists("{t}a", "{t}b", "{t}b") == 2
    assert r().set("binary", bytes(range(256))) and r().get("binary") == bytes(range(256))


def keys(any_worker):
    def r():
        return next(any_worker)

    assert r().expire("key:1", 1000) is True and 0 < r().ttl("key:1") <= 1000
    assert r().expire("key:1", 5000, nx=True) is False
    assert r().expireat("key:1", int(time.time()) + 500) is True and r().pttl("key:1") > 0
    assert r().persist("key:1") is True and r().ttl("key:1") == -1 and r().ttl("nothing") == -2
    assert r().type("key:1") == b"string"
    assert r().rename("key:1", "renamed") is True and r().get("renamed") == b"1"
    assert r().copy("renamed", "copied") is True and r().get("copied") == b"1"
    assert r().delete("renamed", "copied", "nothing") == 2
    assert len(r().keys("key:*")) == 99
    assert len(set(r().scan_iter("key:*", count=7))) == 99
    assert r().dbsize() == len(list(r().scan_iter()))
    assert r().randomkey() is not None
    assert r().memory_usage("key:2") > 0
    assert r().object("encoding", "key:2") == b"int"


def transactions(any_worker):
    one, other = next(any_worker), next(any_worker)
    with one.pipeline() as pipe:
        assert pipe.set("{p}a", 1).incr("{p}a").get("{p}a").execute() == [True, 2, b"2"]
    with one.pipeline(transaction=False) as pipe:
        for n in range(1000):
            pipe.set(f"pipe:{n}", n)
        assert pipe.execute() == [True] * 1000
    with one.pipeline() as pipe:
        pipe.watch("{p}a")
        pipe.multi()
        pipe.set("{p}a", "mine")
        assert pipe.execute() == [True]
        pipe.watch("{p}a")
        other.set("{p}a", "theirs")
        pipe.multi()
        pipe.set("{p}a", "mine")
        try:
            pipe.execute()
            raise AssertionError("a watched key had changed")
        except redis.WatchError:
            pass
    assert other.get("{p}a") == b"theirs"


def server(any_worker, protocol):
    r = next(any_worker)
    assert r.ping() is True and r.echo("word") == b"word"
    info = r.info()
    assert info["redis_version"].startswith("7.0.") and info["loading"] == 0
    assert r.client_getname() in (f"py-{protocol}", f"py-{protocol}".encode())
    assert any(client["name"] == f"py-{protocol}" for client in r.client_list())
    assert r.config_get("maxmemory") == {"maxmemory": "0"}
    assert r.command()["get"]["arity"] == 2
    assert r.command_count() == len(r.command_list())
    assert r.command_getkeys("MSET", "a", 1, "b", 2) in (["a", "b"], [b"a", b"b"])
    assert abs(r.time()[0] - time.time()) < 60
    try:
        r.incr("greeting")
        raise AssertionError("not a number")
    except redis.ResponseError as error:
        assert "not an integer" in str(error)
    assert r.flushdb() is True and r.dbsize() == 0


def main():
    ports = [int(port) for port in sys.argv[1:]]
    for protocol in (2, 3):
        any_worker = clients(ports, protocol)
        strings(any_worker)
        keys(any_worker)
        transactions(any_worker)
        server(any_worker, protocol)
    print(f"redis-py {redis.__version__}: all passed")


main()
