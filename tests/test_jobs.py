"""Pulls as the host's jobs: who joins, who leaves, who stops one, and what `ps` tells of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading

import psutil
import pytest
from support_host import eventually, running_host
from support_hub import playing, repo_of
from support_models import tiny_ir

from illama.cli import main
from illama.client import AsyncClient, Client
from illama.config import Settings
from illama.errors import CancelledError, NotFoundError, PullError, RequestError
from illama.pull.sources import canonical

pytestmark = pytest.mark.slow  # each starts a host and the processes of its pulls

REPO = "OpenVINO/phi-4-int4-ov"
WEIGHTS = b"weights!" * 250_000


@pytest.fixture
def hub(tmp_path):
    with playing() as running:
        running.repos[REPO] = repo_of(tiny_ir(tmp_path / "repo", weights=WEIGHTS))
        running.gate = threading.Event()  # a download stops halfway until it is set
        yield running


@pytest.fixture
def host(hub, home):
    with running_host(home, HF_ENDPOINT=hub.url) as running:
        yield running


@pytest.fixture
def client(host, home):
    with client_of(home) as made:
        yield made


def client_of(home):
    return Client(settings=Settings.load({"ILLAMA_HOME": str(home)}), start=False)


def job_of(client):
    (job,) = client.jobs()
    return job


def until(client, **fields):
    """The only job, once it has these fields."""

    def look():
        job = job_of(client)
        return job if fields.items() <= job.items() else None

    return eventually(look, f"the job has {fields}")


def let_go(hub):
    gate, hub.gate = hub.gate, None
    gate.set()


def part_way(events):
    """Read on until bytes are counted."""
    return next(line for line in events if line.get("completed"))


def test_a_pull_goes_on_when_all_who_watched_have_gone_and_who_asks_again_joins_it(hub, client):
    first = client.pull("phi4")
    before = part_way(first)
    first.close()
    job = until(client, watchers=0)
    assert (job["id"], job["state"], job["source"], job["phase"]) == (before["job"], "running", "phi4", "download")
    again = client.pull(f"https://huggingface.co/{REPO}")
    joined = next(again)
    assert (joined["job"], joined["completed"]) == (job["id"], job["completed"])
    let_go(hub)
    *_, last = again
    assert (last["status"], last["job"]) == ("success", job["id"])
    assert hub.sent["openvino_model.bin"] == len(WEIGHTS)


def test_a_pull_ends_well_though_nobody_is_there_any_more(hub, client):
    with client.pull("phi4") as events:
        part_way(events)
    let_go(hub)
    ended = until(client, state="success")
    assert (ended["name"], ended["watchers"]) == ("phi-4", 0)
    assert ended["ended_at"] >= ended["started_at"]
    assert [model["name"] for model in client.list()] == ["phi-4"]


def test_a_failure_that_nobody_saw_is_told_until_the_next_try(hub, client):
    hub.repos[REPO].gated = True
    list_all = client.pull(REPO)
    next(list_all)
    list_all.close()
    failed = until(client, state="failed")
    assert "is gated" in failed["error"]
    assert "HF_TOKEN" in failed["hint"]
    hub.repos[REPO].gated = False
    let_go(hub)
    *_, last = client.pull(REPO)
    assert last["status"] == "success"
    assert job_of(client)["state"] == "success"


def test_the_last_who_watches_cancels_and_one_of_several_only_stops_watching(hub, host, client, home):
    with client_of(home) as other:
        mine, theirs = client.pull("phi4"), other.pull(REPO)
        part_way(mine)
        part_way(theirs)
        until(client, watchers=2)
        left = mine.stop()
        assert (left.state, left.others) == ("running", 1)
        assert "goes on, as another one waits for it" in left.sentence()
        assert "illama pull --cancel phi4" in left.sentence()
        assert until(client, watchers=1)["state"] == "running"
        assert hub.halfway.wait(30)
        ended = theirs.stop()
    assert ended.state == "cancelled"
    assert "is cancelled; what was fetched is kept" in ended.sentence()
    assert job_of(client)["state"] == "cancelled"
    parts = [path.name for path in (home / "cache" / "downloads").rglob("*.part")]
    assert parts == ["openvino_model.bin.part"]
    assert client.list() == []


def test_two_who_stop_at_the_same_moment_leave_nothing_running(hub, client, home):
    with client_of(home) as other:
        watching = [client.pull("phi4"), other.pull("phi4")]
        for events in watching:
            part_way(events)
        threads = [threading.Thread(target=events.stop) for events in watching]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(events.stopped.state for events in watching) == ["cancelled", "running"]
    assert job_of(client)["state"] == "cancelled"


def test_a_cancel_by_name_or_id_counts_for_all_and_they_are_told(hub, client, home):
    for named in (lambda job: REPO, lambda job: job["id"]):
        watching = client.pull("phi4")
        part_way(watching)
        assert client.stop_pull(named(job_of(client))).state == "cancelled"
        with pytest.raises(CancelledError, match="stopped"):
            list(watching)
    with pytest.raises(NotFoundError, match="There is no pull of phi4 under way"):
        client.stop_pull("phi4")


def test_who_watches_without_a_word_of_its_own_is_not_cancelled_by_another(hub, host, client):
    with host.http.stream("POST", "/api/pull", json={"model": "phi4"}) as response:
        lines = response.iter_lines()  # kept: one that is let go of closes the connection
        next(lines)
        answer = host.http.request("DELETE", "/api/pull", json={"model": "phi4", "watcher": "somebody"})
        assert answer.json()["state"] == "running"
        assert host.http.request("DELETE", "/api/pull", json={}).status_code == 400
    until(client, watchers=0)
    assert host.http.request("DELETE", "/api/pull", json={"model": "phi4"}).json()["state"] == "cancelled"


def test_two_names_for_one_source_are_two_jobs_of_which_one_must_be_named(hub, client):
    one, two = client.pull("phi4", name="a"), client.pull("phi4", name="b")
    next(one), next(two)
    with pytest.raises(RequestError, match="2 pulls are meant"):
        client.stop_pull("phi4")
    assert client.stop_pull("phi4", name="b").state == "cancelled"
    assert {job["name"]: job["state"] for job in client.jobs()} == {"a": "running", "b": "cancelled"}


def test_a_pull_that_is_asked_for_while_its_last_one_is_being_cancelled_is_a_new_one(hub, client, home):
    first = client.pull("phi4")
    before = part_way(first)["job"]
    stopping = threading.Thread(target=first.stop)
    stopping.start()
    eventually(
        lambda: [job for job in client.jobs() if job["state"] != "running"] or not stopping.is_alive(), "it ends"
    )
    let_go(hub)
    *_, last = client.pull("phi4")
    stopping.join()
    assert last["status"] == "success"
    assert last["job"] != before


@pytest.mark.skipif(os.name == "nt", reason="by a signal")
def test_a_pull_whose_process_is_killed_says_so_and_the_next_goes_on(hub, host, client, home):
    events = client.pull("phi4")
    part_way(events)
    (pid,) = pull_processes(host)
    half_on_disk(hub, home)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Exception, match=r"ended unexpectedly \(exit code -9\)"):
        list(events)
    let_go(hub)
    *_, last = client.pull("phi4")
    assert last["status"] == "success"
    assert ranges(hub) == [f"bytes={hub.reached}-"]


def half_on_disk(hub, home):
    """Wait until what the hub has sent before it stopped has arrived."""
    assert hub.halfway.wait(30)
    downloads = home / "cache" / "downloads"
    eventually(lambda: [p.stat().st_size for p in downloads.rglob("*.part")] == [hub.reached], "half of it is on disk")


def ranges(hub):
    """The ranges that the storage was asked for."""
    return [each.headers["range"] for each in hub.asked if each.server == "storage" and "range" in each.headers]


def pull_processes(host):
    family = psutil.Process(host.process.pid).children(recursive=True)
    return [each.pid for each in family if "illama.pull" in " ".join(each.cmdline())]


def test_a_host_that_is_idle_stays_for_a_pull_and_ends_after_it(hub, home):
    with running_host(home, HF_ENDPOINT=hub.url, ILLAMA_HOST_IDLE_SEC="1") as host, client_of(home) as client:
        with client.pull("phi4") as events:
            part_way(events)
        with pytest.raises(subprocess.TimeoutExpired):
            host.process.wait(2.5)
        let_go(hub)
        assert host.process.wait(30) == 0
    assert (home / "registry" / "phi-4").is_dir()


def test_who_ends_the_host_is_told_of_its_pulls_which_go_on_in_the_next(hub, host, client, home, capsys):
    with client.pull("phi4") as events:
        part_way(events)
    half_on_disk(hub, home)
    assert main(["stop", "--host"]) == 0
    assert "The pull of phi4 ended with it: `illama pull phi4` goes on" in capsys.readouterr().out
    host.process.wait(30)
    let_go(hub)
    with running_host(home, HF_ENDPOINT=hub.url), client_of(home) as again:
        *_, last = again.pull("phi4")
    assert last["status"] == "success"
    assert ranges(hub) == [f"bytes={hub.reached}-"]


@pytest.mark.anyio
async def test_the_client_for_asyncio_leaves_and_cancels_likewise(hub, host, home, anyio_backend):
    async with AsyncClient(settings=Settings.load({"ILLAMA_HOME": str(home)}), start=False) as client:
        async with contextlib.aclosing(client.pull("phi4")) as events:
            async for line in events:
                if line.get("completed"):
                    break
        (job,) = await client.jobs()
        assert job["state"] == "running"
        assert (await client.stop_pull("phi4")).state == "cancelled"


def test_spellings_of_a_source_are_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "link").symlink_to("model")
    for spellings in (
        {"phi4", "PHI4", " phi4:latest", REPO, REPO.lower(), f"{REPO}@main", f"hf.co/{REPO}"},
        {"./model", "model/", f"{tmp_path}/model", "link", "../" + tmp_path.name + "/model"},
        {"smollm2", "SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"},
    ):
        assert len({canonical(each) for each in spellings}) == 1, spellings
    assert canonical(f"{REPO}@v2") != canonical(REPO)


def test_a_pull_that_failed_is_told_with_all_that_another_try_needs_until_it_is_dismissed(host, client):
    with pytest.raises(PullError), client.pull("no-such/model", weight_format="int8") as events:
        list(events)
    job = until(client, state="failed")
    assert job["weight_format"] == "int8"
    assert job["code"] == PullError.code
    assert job["hint"]
    answer = host.http.request("DELETE", "/api/pull", json={"job": job["id"]})
    assert answer.json() == {"job": job["id"], "state": "failed", "watchers": 0}
    assert client.jobs() == []
    assert host.http.request("DELETE", "/api/pull", json={"job": job["id"]}).status_code == 404
