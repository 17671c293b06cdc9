"""This is the identity service of the model hub: passwords, tokens that expire, tokens that renew them."""

import json
import secrets
from urllib.parse import parse_qs

from og_integrations.devnet._clock import Clock
from og_integrations.devnet._http import Reply, Request
from og_integrations.devnet._journal import Journal, ServiceCall, parsed
from og_integrations.devnet.services._calls import ArmedFaults, answered, record, told

LOGIN_PATH = "/identitytoolkit/v3/relyingparty/verifyPassword"
REFRESH_PATH = "/v1/token"
TOKEN_SECONDS = 3600


class Identity:
    """The service keeps accounts by email. `token_seconds` is how long a token lives, by the devnet's clock."""

    def __init__(self, clock: Clock, journal: Journal, faults: ArmedFaults) -> None:
        self.api_key: str = f"AIza{secrets.token_urlsafe(26)}"
        self.email: str = "owner@devnet.invalid"
        self.password: str = secrets.token_urlsafe(12)
        self.token_seconds: int = TOKEN_SECONDS
        self.accounts: dict[str, str] = {self.email: self.password}
        self._clock, self._journal, self._faults = clock, journal, faults
        self._tokens: dict[str, tuple[str, float]] = {}
        self._renewing: dict[str, str] = {}
        journal.secrets |= {self.api_key, self.password}

    def serves(self, path: str) -> bool:
        """Return whether `path` is of this service."""
        return path in (LOGIN_PATH, REFRESH_PATH)

    def revoke(self) -> None:
        """Refuse every token that was given out so far; logins can be renewed."""
        self._tokens.clear()

    def end_logins(self) -> None:
        """Refuse to renew any login that was given out so far."""
        self._renewing.clear()

    def owner_of(self, token: str) -> str | None:
        """Return the email of the account that a token is of, None if it is nobody's or has expired."""
        email, until = self._tokens.get(token, ("", 0.0))
        return email if email and self._clock.seconds() < until else None

    def answer(self, request: Request) -> Reply:
        """Answer a request for a token."""
        what = "login" if request.path == LOGIN_PATH else "refresh"
        asked = parsed(request)
        content = asked if isinstance(asked, dict) else {}
        call = record(request, self._journal, what, json.dumps(content, sort_keys=True), request.body)
        return answered(call, self._reply(request, what, content, call))

    def _reply(self, request: Request, what: str, content: dict[str, object], call: ServiceCall) -> Reply:
        met = self._faults.met_by(what)
        call.faults += sorted(met)
        if "login_down" in met:
            return told(503, {"error": {"code": 503, "message": "The service is currently unavailable."}})
        if request.method != "POST" or parse_qs(request.query).get("key") != [self.api_key]:
            message = "API key not valid. Please pass a valid API key."
            return told(400, {"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}})
        if what == "refresh":
            email = self._renewing.get(str(content.get("refreshToken") or content.get("refresh_token")))
            if email is None or "dead_refresh" in met:
                return _refused("INVALID_REFRESH_TOKEN")
            return told(200, self._given(email, "id_token", "refresh_token", "expires_in") | {"user_id": email})
        email = str(content.get("email"))
        if self.accounts.get(email) != content.get("password"):
            return _refused("INVALID_LOGIN_CREDENTIALS")
        if "login_without_tokens" in met:
            return told(200, {"localId": email, "email": email})
        given = self._given(email, "idToken", "refreshToken", "expiresIn")
        return told(200, given | {"localId": email, "email": email, "registered": True})

    def _given(self, email: str, token: str, renewing: str, seconds: str) -> dict[str, object]:
        made, renews = (f"eyJ{secrets.token_urlsafe(40)}" for _ in range(2))
        self._tokens[made] = (email, self._clock.seconds() + self.token_seconds)
        self._renewing[renews] = email
        self._journal.secrets |= {made, renews}
        return {token: made, renewing: renews, seconds: str(self.token_seconds)}


def _refused(word: str) -> Reply:
    return told(400, {"error": {"code": 400, "message": word, "errors": [{"message": word, "domain": "global"}]}})
