"""
This module names what the model hub and twins of the devnet can lie about or break: `net.inject("wrong_file_id")`.

What a fault did to a file, `net.services.hub.unsafe(transfers)` knows: nothing of that may be shown as proven.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServiceFault:
    """This is one way in which the hub, its login or twins lie or break. `at` is what they do when it happens."""

    name: str
    about: str
    at: frozenset[str]


def _fault(name: str, about: str, *at: str) -> ServiceFault:
    return ServiceFault(name, about, frozenset(at))


_FILES = ("upload", "list", "download", "create", "version")
SERVICE_FAULTS: dict[str, ServiceFault] = {
    fault.name: fault
    for fault in (
        _fault("revoked_token", "the hub takes no token that was given out before", *_FILES),
        _fault("dead_refresh", "the identity service renews no login", "refresh"),
        _fault("login_down", "the identity service answers 503", "login", "refresh"),
        _fault("login_without_tokens", "a login is answered with 200 and without tokens", "login"),
        _fault("unknown_version", "a new version is answered without its number", "version"),
        _fault("lost_creation", "a model or version is made, and the connection is cut", "create", "version"),
        _fault("wrong_file_id", "a file is called by the id of another one", "upload", "list"),
        _fault("opaque_file_id", "a file is called by an id that says nothing of its bytes", "upload", "list"),
        _fault("truncated_upload", "the hub keeps half of an upload, and tells its size", "upload"),
        _fault("upload_answers_200", "an upload is answered with 200 instead of 201", "upload"),
        _fault("lost_upload", "an upload is kept, and the connection is cut", "upload"),
        _fault("changed_file", "a download has one byte changed", "download"),
        _fault("cut_download", "the connection is cut in the middle of a download", "download"),
        _fault("hub_down", "the hub answers 503", *_FILES),
        _fault("hub_garbage", "the hub answers with 200 and no JSON", "create", "version", "upload", "list"),
        _fault("silent_twin", "a twin answers without a choice", "chat"),
        _fault("twin_down", "twins answer 503", "chat"),
        _fault("twin_garbage", "a twin answers with 200 and no JSON", "chat"),
    )
}
