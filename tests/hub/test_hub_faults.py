"""What the hub and its login can lie about or break, one by one: what the user sees, and that nothing is repeated."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from og_integrations.devnet import SERVICE_FAULTS, Devnet, Services
from og_integrations.devnet.verdict._services import misused_services
from og_integrations.errors import (
    ConfigurationError,
    ConnectionLostError,
    FileMismatchError,
    HubError,
    LoginRefusedError,
    OpenGradientError,
)


def version(hub: Any, model: tuple[str, str], file: Path) -> Any:
    return hub.create_version(model[0])


def upload(hub: Any, model: tuple[str, str], file: Path) -> Any:
    return hub.upload(file, *model)


def files(hub: Any, model: tuple[str, str], file: Path) -> Any:
    return hub.list_files(*model)


def create(hub: Any, model: tuple[str, str], file: Path) -> Any:
    return hub.create_model(f"{model[0]}-next", "x")


def download(hub: Any, model: tuple[str, str], file: Path) -> Any:
    return hub.download(*model, file.name, file.parent / "came.bin")


FAILS: list[tuple[str, Callable[..., Any], type[OpenGradientError], str, bool]] = [
    ("unknown_version", version, HubError, "without its number: it may have been made", False),
    ("unknown_version", create, HubError, "-next was made, but no version of it", False),
    ("lost_creation", version, HubError, "It is not known whether a version of model-.* was made: look", False),
    ("lost_creation", create, HubError, "It is not known whether the model .* was made: look", False),
    ("wrong_file_id", upload, FileMismatchError, "calls weights.bin by the id of another file", False),
    ("wrong_file_id", download, FileMismatchError, "do not give the CID .* thrown away", False),
    ("truncated_upload", upload, FileMismatchError, "got 300160 bytes of weights.bin, which has 600320", False),
    ("lost_upload", upload, HubError, "It is not known whether the file weights.bin was made", False),
    ("changed_file", download, FileMismatchError, "do not give the CID .* thrown away", False),
    ("cut_download", download, ConnectionLostError, "broke", True),
    ("hub_down", files, HubError, "HTTP 503", True),
    ("hub_down", upload, HubError, "HTTP 503.*look before you ask again", False),
    ("hub_garbage", files, HubError, "something else than JSON", False),
    ("hub_garbage", version, HubError, "something else than JSON", False),
    ("hub_garbage", upload, HubError, "It may have been made", False),
    ("hub_garbage", create, HubError, "It may have been made", False),
]


@pytest.mark.parametrize(
    ("fault", "ask", "kind", "said", "retryable"), FAILS, ids=[f"{name}-{ask.__name__}" for name, ask, *_ in FAILS]
)
def test_fault_is_an_error_that_says_what_it_means(
    hub: Any,
    net: Devnet,
    model: tuple[str, str],
    file: Path,
    fault: str,
    ask: Callable[..., Any],
    kind: type[OpenGradientError],
    said: str,
    retryable: bool,
) -> None:
    """And nothing that is not what its id says is left on the disk."""
    hub.upload(file, *model)
    before = len(net.journal.services)
    net.inject(fault)
    with pytest.raises(kind, match=said) as caught:
        ask(hub, model, file)
    assert caught.value.is_retryable == retryable
    met = [call.what for call in net.journal.services[before:] if fault in call.faults]
    assert len(met) == len(set(met)), "asked twice"
    assert sorted(path.name for path in file.parent.iterdir()) == [file.name]


def test_upload_may_be_answered_with_200(hub: Any, net: Devnet, model: tuple[str, str], file: Path) -> None:
    """The published client takes that for a failure, although the hub has the file."""
    net.inject("upload_answers_200")
    assert hub.upload(file, *model).check == "pass"


def test_id_that_says_nothing_of_the_bytes_is_not_called_proof(
    hub: Any, net: Devnet, services: Services, model: tuple[str, str], file: Path
) -> None:
    """Neither up nor down; with a hash of the caller's own it is proven all the same."""
    net.inject("opaque_file_id")
    sent = hub.upload(file, *model)
    got = hub.download(*model, file.name, file.parent / "came.bin")
    assert (sent.check, got.check) == ("skip", "skip")
    assert "says nothing of the bytes" in got.detail
    net.inject("changed_file")
    lied = hub.download(*model, file.name, file.parent / "lied.bin")
    assert lied.check == "skip"
    assert services.hub.unsafe([sent, got, lied]) == []
    with pytest.raises(FileMismatchError, match="SHA-256"):
        hub.download(*model, file.name, file.parent / "known.bin", sha256=sent.sha256)


@pytest.mark.parametrize("ask", [version, upload, files, download])
def test_revoked_token_is_renewed_once_and_the_call_goes_on(
    hub: Any, net: Devnet, model: tuple[str, str], file: Path, ask: Callable[..., Any]
) -> None:
    hub.upload(file, *model)
    before = len(net.journal.services)
    net.inject("revoked_token", times=1)
    assert ask(hub, model, file)
    calls = [(call.what, call.status) for call in net.journal.services[before:]]
    assert calls.count(("refresh", 200)) == 1
    assert [what for what, status in calls if status == 401] == [calls[0][0]]


def test_login_that_cannot_be_renewed_is_made_anew(hub: Any, net: Devnet, model: tuple[str, str], file: Path) -> None:
    before = len(net.journal.services)
    net.inject("dead_refresh")
    net.inject("revoked_token", times=1)
    assert files(hub, model, file) == []
    calls = [(call.what, call.status) for call in net.journal.services[before:]]
    assert calls == [("list", 401), ("refresh", 400), ("login", 200), ("list", 200)]


def test_hub_that_takes_no_token_is_left_after_the_second(hub: Any, net: Devnet, model: tuple[str, str]) -> None:
    before = len(net.journal.services)
    net.inject("revoked_token")
    with pytest.raises(LoginRefusedError, match="does not take the login"):
        hub.list_files(*model)
    assert [call.what for call in net.journal.services[before:]] == ["list", "refresh", "list"]


def test_token_is_renewed_before_it_expires(make_hub: Callable[..., Any], net: Devnet, services: Services) -> None:
    """Never shown in its last minute, and not renewed before."""
    services.identity.token_seconds = 59
    hub = make_hub()
    before = len(net.journal.services)
    hub.login()
    services.identity.token_seconds = 3600
    hub.login()
    hub.login()
    assert [call.what for call in net.journal.services[before:]] == ["login", "refresh"]


def test_token_that_expired_on_the_way_is_renewed(hub: Any, net: Devnet, model: tuple[str, str]) -> None:
    """An hour passes for the hub, of which the client's clock knows nothing."""
    net.advance(3601)
    assert hub.list_files(*model) == []


@pytest.mark.parametrize(
    ("fault", "said", "retryable"),
    [("login_down", "HTTP 503.*out of order", True), ("login_without_tokens", "without its tokens", False)],
)
def test_login_that_fails_is_no_login(
    make_hub: Callable[..., Any], net: Devnet, fault: str, said: str, retryable: bool
) -> None:
    net.inject(fault)
    with pytest.raises(LoginRefusedError, match=said) as caught:
        make_hub().login()
    assert caught.value.is_retryable == retryable


def test_faults_of_services_need_services() -> None:
    with Devnet() as bare, pytest.raises(ConfigurationError, match="call open_services first"):
        bare.inject("hub_down")


def test_every_fault_of_the_hub_is_met_in_this_file() -> None:
    here = Path(__file__).read_text()
    of_hub = [name for name, fault in SERVICE_FAULTS.items() if "chat" not in fault.at]
    assert [name for name in of_hub if f'"{name}"' not in here] == []


def test_a_change_that_is_repeated_in_doubt_is_found(net: Devnet, services: Services) -> None:
    """The judge finds a client that does what ours does not; of ours it says nothing in any of these tests."""
    import httpx

    login = {"email": services.identity.email, "password": services.identity.password}
    wrong = login | {"password": "wrong"}
    url = f"{services.login_url}/identitytoolkit/v3/relyingparty/verifyPassword?key={services.identity.api_key}"
    mark = len(net.journal.services)
    token = httpx.post(url, json=login).json()["idToken"]
    net.inject("lost_creation", times=1)
    for _ in range(2):
        try:
            asked = {"name": "made-twice", "description": ""}
            httpx.post(f"{services.hub_url}/models/", json=asked, headers={"Authorization": f"Bearer {token}"})
        except httpx.HTTPError:
            continue
    for _ in range(5):
        httpx.post(url, json=wrong)
    found = list(misused_services(net.journal))
    assert {"repeated_change", "retry_storm"} <= {finding.name for finding in found}
    del net.journal.services[mark:]
