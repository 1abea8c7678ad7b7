"""Real services on one database: killed under load, and two that see each other's writes."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from benchmarks.serving_kill import Clients, Service, compare, kill_rounds
from serving.client import Client
from serving.sets import SetStore
from tests.serving.balancer import balanced
from tests.serving.sets.writers import MODEL, units


@pytest.fixture
def start(bundle, database_url, tmp_path):
    """start(count) -> so many services on one database, ready."""
    services = []

    def started(count):
        services.extend(Service(bundle, database_url, tmp_path) for _ in range(count))
        for service in services:
            service.start()
        for service in services:
            service.wait_until_ready()
        return services

    yield started
    for service in services:
        service.kill()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_no_answered_write_is_lost_and_the_service_comes_back_after_kill_9(start, database_url):
    (service,) = start(1)
    report = kill_rounds(service, database_url, MODEL.dim, rounds=3, seed=1)
    assert (report.rounds, report.lost, report.unanswered) == (3, 0, 0)
    assert report.writes >= 3
    assert (len(report.worker_seconds), len(report.service_seconds)) == (2, 1)


def test_two_replicas_see_each_other_s_writes_within_a_second(start):
    clients = [Client(service.url) for service in start(2)]
    clients[0].enrol("shared", "first", embeddings=units(0))
    seconds = []
    for number in range(6):
        writer, reader = clients[number % 2], clients[1 - number % 2]
        assert "first" in reader.prototypes("shared").labels, "now in memory, where it may grow old"
        writer.enrol("shared", f"class-{number}", embeddings=units(number))
        answered = time.monotonic()
        while f"class-{number}" not in reader.prototypes("shared").labels:
            assert time.monotonic() < answered + 30, "never seen"
            time.sleep(0.01)
        seconds.append(time.monotonic() - answered)
    assert statistics.median(seconds) < 1, seconds  # one may meet a machine that does something else
    for client in clients:
        client.close()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_no_request_fails_where_one_of_three_replicas_is_killed_under_load(start, database_url, bundle, encode):
    """With the client's own retries; what the clients write in the meantime is all there."""
    services = start(3)
    with balanced([service.url for service in services]) as balancer, ThreadPoolExecutor(3) as pool:
        writers = Clients(balancer.url, MODEL.dim, threads=3)
        stop = Event()

        def read(seed):
            asked = 0
            while not stop.is_set():
                with Client(balancer.url) as client:  # a connection anew: all replicas are asked
                    for _ in range(5):
                        assert client.classify(encode(seed=seed)).known
                        asked += 1
            return asked

        readers = [pool.submit(read, seed) for seed in range(3)]
        writers.start(0)
        try:
            writers.wait_for(30)
            services[0].kill()
            writers.wait_for(writers.writes + 100)
        finally:
            stop.set()
            writers.finish()
        assert min(reader.result() for reader in readers) > 5
        assert min(balancer.taken) > 0
    assert compare(database_url, writers.answered) == (0, 0)


def test_the_comparison_sees_what_was_lost_and_what_nobody_was_told(database_url):
    store = SetStore.open(database_url, MODEL)
    told = store.enrol("killed", "x", units(0, 4))
    assert compare(database_url, {"x": told.example_ids}) == (0, 0)
    store.remove_examples("killed", "x", told.example_ids[:1])
    assert compare(database_url, {"x": told.example_ids}) == (1, 0)
    store.enrol("killed", "y", units(1, 2))
    assert compare(database_url, {"x": told.example_ids}) == (1, 2)
    store.close()
