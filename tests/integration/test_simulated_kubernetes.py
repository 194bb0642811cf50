"""The simulated API server over HTTP: what it answers is what a real one was seen to answer (or is written to)."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from hardware_sim.kubernetes import PodTemplate, SimulatedCluster, SimulatedKubernetes, objects

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DEADLINE_S = 10.0
PODS, NODES = "/api/v1/pods", "/api/v1/nodes"
SHELL = "/api/v1/namespaces/web/pods/shell"


@pytest.fixture
async def api() -> AsyncIterator[SimulatedKubernetes]:
    """Two nodes, and a pod that ignores SIGTERM."""
    cluster = SimulatedCluster(start_s=0.0)
    cluster.add_node("pi4-a")
    cluster.add_node("pi4-b")
    cluster.add_pod("web", "shell", "pi4-a", PodTemplate(stop_s=600.0, grace_s=90))
    cluster.advance(1.0)
    async with SimulatedKubernetes(cluster, tls=False, token=None) as running:
        yield running


@pytest.fixture
async def http(api: SimulatedKubernetes) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that knows nothing of Kubernetes."""
    timeout = aiohttp.ClientTimeout(total=DEADLINE_S)
    async with aiohttp.ClientSession(api.url, timeout=timeout) as session:
        yield session


async def asked(
    http: aiohttp.ClientSession, method: str, path: str, *, kind: str = "application/json", **given: Any
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Code, body and headers of the answer; what is `given` beside a `body` are query parameters."""
    body = json.dumps(given.pop("body")) if "body" in given else None
    headers = {"Content-Type": kind} if body is not None else {}
    async with http.request(method, path, params=given, data=body, headers=headers) as response:
        return response.status, await response.json(), dict(response.headers)


class Stream:
    """The events of a watch, one by one."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> tuple[str, dict[str, Any]]:
        """Type and object."""
        event = json.loads(await self.response.content.readline())
        return event["type"], event["object"]

    async def named(self) -> tuple[str, str]:
        """Type and the object's name."""
        kind, found = await self.next()
        return kind, found["metadata"]["name"]


@asynccontextmanager
async def watching(http: aiohttp.ClientSession, path: str, **query: str) -> AsyncIterator[Stream]:
    """A watch that was accepted."""
    async with http.get(path, params=query | {"watch": "1"}) as response:
        assert response.status == 200
        yield Stream(response)


async def version_of(http: aiohttp.ClientSession, path: str) -> str:
    """The version at which a list is made."""
    _, found, _ = await asked(http, "GET", path)
    return str(found["metadata"]["resourceVersion"])


async def test_a_watch_goes_on_where_the_list_ended(api: SimulatedKubernetes, http: aiohttp.ClientSession) -> None:
    """Nothing between the two is lost, and each event carries the version from which the next watch goes on."""
    version = await version_of(http, PODS)
    api.cluster.add_pod("web", "early", "pi4-a", PodTemplate(stop_s=0.0))
    async with watching(http, PODS, resourceVersion=version) as stream:
        kind, found = await stream.next()
        assert (kind, found["metadata"]["name"], objects.node_of(found)) == ("ADDED", "early", "")
        assert int(found["metadata"]["resourceVersion"]) > int(version)
        assert await stream.named() == ("MODIFIED", "early")
    async with watching(http, PODS, resourceVersion=found["metadata"]["resourceVersion"]) as stream:
        assert await stream.named() == ("MODIFIED", "early")
        api.cluster.delete_pod(api.cluster.pod("web", "early"), 0)
        while (event := await stream.named()) == ("MODIFIED", "early"):
            pass
        assert event == ("DELETED", "early")


@pytest.mark.parametrize("version", ["", "0"])
async def test_a_watch_without_a_version_begins_with_what_is_there(http: aiohttp.ClientSession, version: str) -> None:
    """As additions."""
    async with watching(http, NODES, resourceVersion=version) as stream:
        assert [await stream.named() for _ in range(2)] == [("ADDED", "pi4-a"), ("ADDED", "pi4-b")]


async def test_a_watch_sees_only_what_is_selected(api: SimulatedKubernetes, http: aiohttp.ClientSession) -> None:
    """A pod that is bound to the node comes in, one that loses the label leaves with what it was."""
    query = {"resourceVersion": await version_of(http, PODS), "fieldSelector": "spec.nodeName=pi4-b"}
    labels = {"resourceVersion": query["resourceVersion"], "labelSelector": "app=here"}
    async with watching(http, PODS, **query) as bound, watching(http, PODS, **labels) as labelled:
        api.cluster.add_pod("web", "elsewhere", "pi4-a")
        api.cluster.add_pod("web", "here", "pi4-b")
        assert await bound.named() == ("ADDED", "here")
        assert await labelled.named() == ("ADDED", "here")
        patch = {"metadata": {"labels": {"app": "other"}}}
        path = "/api/v1/namespaces/web/pods/here"
        await asked(http, "PATCH", path, kind="application/merge-patch+json", body=patch)
        while (event := await labelled.next())[0] == "MODIFIED":
            pass
        assert (event[0], event[1]["metadata"]["labels"]) == ("DELETED", {"app": "here"})
        assert event[1]["metadata"]["resourceVersion"] == str(api.cluster.store.version)


async def test_a_watch_of_one_namespace_sees_only_that(api: SimulatedKubernetes, http: aiohttp.ClientSession) -> None:
    """Pods of the same name elsewhere are none of its business."""
    version = await version_of(http, PODS)
    api.cluster.add_pod("home", "shell", "pi4-b")
    api.cluster.add_pod("web", "other", "pi4-b")
    async with watching(http, "/api/v1/namespaces/web/pods", resourceVersion=version) as stream:
        assert await stream.named() == ("ADDED", "other")


async def test_a_watch_ends_after_its_timeout_with_a_bookmark(
    api: SimulatedKubernetes, http: aiohttp.ClientSession
) -> None:
    """The bookmark says nothing but a version, which changes of other kinds have moved on as well."""
    version = await version_of(http, PODS)
    api.cluster.add_budget("web", "shell", app="shell")
    query = {"resourceVersion": version, "allowWatchBookmarks": "true", "timeoutSeconds": "1"}
    async with watching(http, PODS, **query) as stream:
        kind, found = await stream.next()
        assert (kind, found["kind"]) == ("BOOKMARK", "Pod")
        assert found["metadata"]["resourceVersion"] == str(api.cluster.store.version) != version
        assert await stream.response.content.readline() == b""


async def test_bookmarks_come_only_to_those_who_ask(http: aiohttp.ClientSession) -> None:
    """An older client would not know what they are."""
    async with watching(http, PODS, resourceVersion=await version_of(http, PODS), timeoutSeconds="1") as stream:
        assert await stream.response.read() == b""


async def test_a_version_that_is_too_old_is_told_within_the_stream(
    api: SimulatedKubernetes, http: aiohttp.ClientSession
) -> None:
    """HTTP 200, then an ERROR that holds a 410, then the end."""
    version = await version_of(http, PODS)
    api.cluster.add_pod("web", "other", "pi4-b")
    api.cluster.store.compact()
    async with watching(http, PODS, resourceVersion=version) as stream:
        kind, found = await stream.next()
        assert (kind, found["kind"], found["code"], found["reason"]) == ("ERROR", "Status", 410, "Expired")
        assert await stream.response.content.readline() == b""


async def test_a_restart_of_the_server_makes_all_versions_too_old(
    api: SimulatedKubernetes, http: aiohttp.ClientSession
) -> None:
    """Those of changes that were made in between as well."""
    version = await version_of(http, PODS)
    await api.stop()
    api.cluster.add_pod("web", "other", "pi4-b")
    await api.start()
    async with watching(http, PODS, resourceVersion=version) as stream:
        assert (await stream.next())[0] == "ERROR"
    async with watching(http, PODS, resourceVersion=await version_of(http, PODS), timeoutSeconds="1") as stream:
        assert await stream.response.read() == b""


async def test_a_watch_from_the_future_is_silent_and_a_list_from_there_is_refused(http: aiohttp.ClientSession) -> None:
    """504 with Retry-After to the list, which is how a client learns that a datastore was restored."""
    version = str(int(await version_of(http, PODS)) + 1000)
    async with watching(http, PODS, resourceVersion=version, timeoutSeconds="1") as stream:
        assert await stream.response.read() == b""
    code, found, headers = await asked(http, "GET", PODS, resourceVersion=version)
    assert (code, found["reason"], headers["Retry-After"]) == (504, "Timeout", "1")
    assert found["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"resourceVersion": "new"}, 400),
        ({"fieldSelector": "spec.hostname=pi3"}, 400),
        ({"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}, 422),
    ],
)
async def test_a_watch_that_makes_no_sense_is_refused_before_it_begins(
    http: aiohttp.ClientSession, query: dict[str, str], code: int
) -> None:
    """As an answer of its own; the last is a feature that servers of this version do not have."""
    assert (await asked(http, "GET", PODS, watch="1", **query))[0] == code


async def test_a_page_of_a_list_that_is_forgotten_is_refused(
    api: SimulatedKubernetes, http: aiohttp.ClientSession
) -> None:
    """410, as an answer of its own: the client begins the list anew."""
    _, first, _ = await asked(http, "GET", NODES, limit="1")
    token = first["metadata"]["continue"]
    code, second, _ = await asked(http, "GET", NODES, **{"limit": "1", "continue": token})
    assert (code, [item["metadata"]["name"] for item in second["items"]]) == (200, ["pi4-b"])
    api.cluster.add_pod("web", "other", "pi4-b")
    api.cluster.store.compact()
    code, refused, _ = await asked(http, "GET", NODES, **{"limit": "1", "continue": token})
    assert (code, refused["reason"]) == (410, "Expired")


@pytest.mark.parametrize(
    ("kind", "patch", "code", "reason"),
    [
        ("merge-patch", {"metadata": {"resourceVersion": "1"}}, 409, "Conflict"),
        ("merge-patch", [], 400, "BadRequest"),
        ("json-patch", {}, 400, "BadRequest"),
        ("json-patch", [{"op": "test", "path": "/spec/containers/0/name", "value": "side"}], 422, "Invalid"),
        ("strategic-merge-patch", {"metadata": {"uid": "another"}}, 422, "Invalid"),
        ("yaml", {}, 415, "UnsupportedMediaType"),
    ],
)
async def test_patches_are_refused_with_code_and_reason(
    http: aiohttp.ClientSession, kind: str, patch: object, code: int, reason: str
) -> None:
    """And the object keeps its version."""
    version = await version_of(http, PODS)
    found = await asked(http, "PATCH", SHELL, kind=f"application/{kind}+json", body=patch)
    assert (found[0], found[1]["reason"], found[1]["status"]) == (code, reason, "Failure")
    assert await version_of(http, PODS) == version


async def test_an_eviction_is_refused_by_the_budget_and_by_a_busy_server_in_different_ways(
    api: SimulatedKubernetes, http: aiohttp.ClientSession
) -> None:
    """Both 429: the one with a cause and without Retry-After, the other the reverse, and not even a Status."""
    api.cluster.add_budget("web", "shell", app="shell")
    code, found, headers = await asked(http, "POST", f"{SHELL}/eviction", body={})
    assert (code, found["reason"]) == (429, "TooManyRequests")
    assert found["details"]["causes"][0]["reason"] == "DisruptionBudget"
    assert "Retry-After" not in headers
    api.faults.throttled = 1
    async with http.post(f"{SHELL}/eviction", json={}) as busy:
        assert (busy.status, busy.headers["Retry-After"]) == (429, "1")
        assert (busy.content_type, await busy.text()) == (
            "text/plain",
            "Too many requests, please try again later.\n",
        )
    assert (await asked(http, "GET", SHELL))[0] == 200


async def test_a_deletion_has_the_end_of_its_grace_as_its_date_and_only_moves_forward(
    api: SimulatedKubernetes, http: aiohttp.ClientSession
) -> None:
    """90 s as the pod has it, then 20; 40 more change nothing; 0 does not ask the kubelet."""
    for grace_s, expected_s in ((None, 90), (20, 20), (40, 20)):
        before = api.cluster.now
        body = {} if grace_s is None else {"gracePeriodSeconds": grace_s}
        code, found, _ = await asked(http, "DELETE", SHELL, body=body)
        assert (code, found["metadata"]["deletionGracePeriodSeconds"]) == (200, expected_s)
        if grace_s != 40:
            dates = {api.cluster.date(before + expected_s), api.cluster.date(api.cluster.now + expected_s)}
            assert found["metadata"]["deletionTimestamp"] in dates
    assert (await asked(http, "DELETE", SHELL, body={"gracePeriodSeconds": 0}))[0] == 200
    assert (await asked(http, "GET", SHELL))[0] == 404


async def test_every_call_is_recorded_with_its_answer(api: SimulatedKubernetes, http: aiohttp.ClientSession) -> None:
    """Refused ones and watches too; 0 is the code of what has no answer yet."""
    await asked(http, "GET", "/api/v1/namespaces/web/pods/none")
    async with watching(http, PODS, resourceVersion="1"):
        pass
    await asked(http, "DELETE", SHELL, body={"gracePeriodSeconds": 5}, dryRun="All")
    api.faults.mute = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await asked(http, "GET", NODES)
    assert [(call.method, call.path, call.code) for call in api.requests] == [
        ("GET", "/api/v1/namespaces/web/pods/none", 404),
        ("GET", PODS, 200),
        ("DELETE", SHELL, 200),
        ("GET", NODES, 0),
    ]
    assert (api.requests[2].query, api.requests[2].body) == ({"dryRun": "All"}, {"gracePeriodSeconds": 5})
