"""What may be spent: the owner's rules, and the account under them."""

from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from og_integrations.errors import (
    AssetRefusedError,
    BudgetExceededError,
    ConfigurationError,
    HostRefusedError,
    NetworkRefusedError,
    OfferRefusedError,
    PayeeRefusedError,
    SchemeRefusedError,
)
from og_integrations.networks import BASE, BASE_SEPOLIA, OPG, format_opg
from og_integrations.protocol.payment._budget import Budget, Hold, HoldState
from og_integrations.protocol.payment._policy import SpendPolicy, parse_opg
from og_integrations.protocol.payment._x402 import parse_requirements
from tests.protocol.flows import AMOUNT, REQUIREMENT, new_budget
from tests.sizes import examples

HOST = "enclave.example"


def budget(**policy: Any) -> Budget:
    return new_budget(SpendPolicy.of(policy))


@pytest.mark.parametrize(
    ("amount", "base_units"),
    [
        ("0.1", 10**17),
        (1, OPG),
        (0, 0),
        ("0", 0),
        (Decimal("2.5"), 25 * 10**17),
        ("0.000000000000000001", 1),
        ("12345678901.123456789012345678", 12345678901123456789012345678),
        (str(2**160) + ".5", 2**160 * OPG + OPG // 2),
    ],
)
def test_amount_of_opg_is_read_exactly(amount: object, base_units: int) -> None:
    assert parse_opg(amount) == base_units


@pytest.mark.parametrize(
    "amount",
    [
        float("nan"), float("inf"), -0.5, 1e-30,
        True, None, b"1", "", "one", "-1", -1, "nan", "inf", "sNaN", "1e999999", Decimal("-0.5"),
        "0.0000000000000000001", "1.00000000000000000000000000001", "1" * 120,
    ],
)  # fmt: skip
def test_what_is_no_amount_is_refused(amount: object) -> None:
    """Never rounded, never negative."""
    with pytest.raises(ValueError, match="OPG"):
        parse_opg(amount)


@pytest.mark.parametrize(
    ("base_units", "text"),
    [(0, "0"), (1, "0.000000000000000001"), (10**17, "0.1"), (OPG, "1"), (1500 * OPG, "1500"), (10**36, str(10**18))],
)
def test_amount_is_shown_exactly(base_units: int, text: str) -> None:
    assert format_opg(base_units) == text


@given(st.integers(0, 2**256 - 1), st.integers(1, 40))
@examples(50)
def test_amount_survives_any_decimal_context(base_units: int, precision: int) -> None:
    """What the program around us does with `decimal` must not change money."""
    with localcontext() as context:
        context.prec = precision
        assert parse_opg(format_opg(base_units)) == base_units


def test_default_policy() -> None:
    """Five OPG at most per authorization, scheme `upto` only, on the network's own chain and token."""
    policy = SpendPolicy.of(None).on(BASE)
    assert (policy.cap_units, policy.total_units, policy.schemes) == (5 * OPG, None, frozenset({"upto"}))
    assert (policy.networks, policy.assets) == (frozenset({"eip155:8453"}), frozenset({BASE.token.lower()}))
    policy.check(parse_requirements(REQUIREMENT), HOST)


def test_policy_that_names_its_networks_keeps_them() -> None:
    policy = SpendPolicy.of({"networks": ["eip155:84532"], "assets": [BASE_SEPOLIA.token]}).on(BASE)
    assert policy.networks == frozenset({"eip155:84532"})
    assert policy.assets == frozenset({BASE_SEPOLIA.token.lower()})


def test_policy_is_given_as_it_is_or_as_a_dict() -> None:
    policy = SpendPolicy(total=3)
    assert SpendPolicy.of(policy) is policy
    assert SpendPolicy.of({"total": "3"}) == policy


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"max_per_authorisation": 1}, r"max_per_authorisation: Extra inputs .*did you mean max_per_authorization\?"),
        ({"total": True}, "total: Value error, an amount of OPG is a Decimal, int, float or text, not a bool"),
        ({"total": "1e999999"}, "'1e999999' is not an amount of OPG"),
        ({"max_per_authorization": -1}, "-1 OPG is negative, infinite or finer than 18 decimals"),
        ({"hosts": "enclave.example"}, "hosts: Value error, give a list of texts"),
        ({"hosts": 7}, "give a list of texts"),
        ({"max_validity_seconds": "soon"}, "max_validity_seconds: Input should be a valid integer"),
    ],
)
def test_policy_that_is_not_valid(value: dict[str, Any], said: str) -> None:
    """Our error, not pydantic's `ValueError`, which LlamaIndex would swallow."""
    with pytest.raises(ConfigurationError, match=said):
        SpendPolicy.of(value)


@pytest.mark.parametrize(
    ("policy", "error", "said"),
    [
        ({"schemes": ["exact"]}, SchemeRefusedError, r"asks for scheme upto, expected one of \['exact'\]"),
        ({"networks": ["eip155:1"]}, NetworkRefusedError, r"network eip155:8453, expected one of \['eip155:1'\]"),
        ({"assets": ["0x01"]}, AssetRefusedError, f"asks for asset {BASE.token}, expected one of"),
        ({"pay_to": ["0x01"]}, PayeeRefusedError, "asks for payTo 0x9deEBB5D"),
        ({"facilitators": ["0x01"]}, PayeeRefusedError, "asks for facilitator 0xfdC9A105"),
        ({"hosts": ["other.example"]}, HostRefusedError, r"asks for host enclave.example, expected one of \['other"),
        ({"hosts": []}, HostRefusedError, r"expected one of \[\]"),
        ({"max_validity_seconds": 299}, OfferRefusedError, "stays valid for 300 s, expected at most 299 s"),
        (
            {"max_per_authorization": "0.05"},
            BudgetExceededError,
            r"asks for 0.1 OPG, expected at most 0.05 OPG \(SpendPolicy.max_per_authorization\)",
        ),
    ],
)  # fmt: skip
def test_rule_that_is_broken(policy: dict[str, Any], error: type[OfferRefusedError], said: str) -> None:
    """Each rule has its own error, which says what, expected and got, and that nothing was signed."""
    with pytest.raises(OfferRefusedError, match=said) as caught:
        SpendPolicy.of(policy).check(parse_requirements(REQUIREMENT), HOST)
    assert type(caught.value) is error
    assert "The gateway enclave.example asks" in str(caught.value)
    assert "Nothing was signed." in str(caught.value)


@pytest.mark.parametrize(
    "policy",
    [
        {"schemes": None},
        {"schemes": ["UPTO", "exact"]},
        {"pay_to": [REQUIREMENT["payTo"].lower()]},
        {"facilitators": [REQUIREMENT["extra"]["facilitatorAddress"].upper()]},
        {"hosts": ["Enclave.Example"]},
        {"max_validity_seconds": 300, "max_per_authorization": "0.1"},
    ],
)
def test_rule_that_holds(policy: dict[str, Any]) -> None:
    SpendPolicy.of(policy).check(parse_requirements(REQUIREMENT), HOST)


def test_offer_without_facilitator_is_not_a_listed_one() -> None:
    requirement = parse_requirements(REQUIREMENT | {"extra": {}})
    with pytest.raises(PayeeRefusedError, match="asks for facilitator , expected one of"):
        SpendPolicy.of({"facilitators": ["0x01"]}).check(requirement, HOST)


def test_total_counts_what_is_held() -> None:
    account = budget(total="0.25")
    account.hold(AMOUNT)
    account.hold(AMOUNT)
    said = r"needs 0.1 OPG, but 0.2 of 0.25 OPG \(SpendPolicy.total\) are authorized already. Nothing was signed"
    with pytest.raises(BudgetExceededError, match=said):
        account.hold(AMOUNT)
    assert account.authorized() == 2 * AMOUNT


@pytest.mark.parametrize(
    ("steps", "state", "authorized", "in_doubt"),
    [
        ([], HoldState.HELD, 7, 0),
        ([Hold.settle], HoldState.SETTLED, 7, 0),
        ([Hold.release], HoldState.RELEASED, 0, 0),
        ([Hold.doubt], HoldState.IN_DOUBT, 7, 7),
        ([Hold.doubt, Hold.settle], HoldState.SETTLED, 7, 0),
        ([Hold.doubt, Hold.release], HoldState.IN_DOUBT, 7, 7),
        ([Hold.settle, Hold.release], HoldState.SETTLED, 7, 0),
        ([Hold.settle, Hold.doubt], HoldState.SETTLED, 7, 0),
        ([Hold.release, Hold.doubt], HoldState.RELEASED, 0, 0),
        ([Hold.release, Hold.settle], HoldState.RELEASED, 0, 0),
    ],
)
def test_hold_is_released_or_settled_and_doubt_only_ends(
    steps: list[Any], state: HoldState, authorized: int, in_doubt: int
) -> None:
    """Only one that is held can be released; doubt ends in certainty and never the other way."""
    account = budget()
    hold = account.hold(7)
    for step in steps:
        step(hold)
    assert (hold.state, account.authorized(), account.spent(0).in_doubt) == (state, authorized, in_doubt)


class Account(RuleBasedStateMachine):
    """Any order of holds and outcomes, against a table of what was authorized."""

    TOTAL = 100

    def __init__(self) -> None:
        super().__init__()
        self.budget = new_budget(SpendPolicy.of({"total": Decimal(self.TOTAL) / OPG}))
        self.holds: list[tuple[Hold, HoldState]] = []

    @rule(amount=st.integers(1, 60))
    def hold(self, amount: int) -> None:
        fits = self.counted() + amount <= self.TOTAL
        try:
            self.holds.append((self.budget.hold(amount), HoldState.HELD))
        except BudgetExceededError:
            assert not fits
        else:
            assert fits

    @rule(which=st.integers(0, 99), to=st.sampled_from(["settle", "release", "doubt"]))
    def move(self, which: int, to: str) -> None:
        if not self.holds:
            return
        hold, was = self.holds[which % len(self.holds)]
        getattr(hold, to)()
        after = {
            "settle": HoldState.SETTLED if was in (HoldState.HELD, HoldState.IN_DOUBT) else was,
            "release": HoldState.RELEASED if was is HoldState.HELD else was,
            "doubt": HoldState.IN_DOUBT if was is HoldState.HELD else was,
        }
        self.holds[which % len(self.holds)] = (hold, after[to])

    def counted(self) -> int:
        return sum(hold.amount for hold, state in self.holds if state is not HoldState.RELEASED)

    @invariant()
    def never_more_than_the_total(self) -> None:
        assert self.budget.authorized() == self.counted() <= self.TOTAL

    @invariant()
    def doubt_is_part_of_it(self) -> None:
        doubtful = sum(hold.amount for hold, state in self.holds if state is HoldState.IN_DOUBT)
        assert self.budget.spent(0).in_doubt == doubtful <= self.budget.authorized()


TestAccount = Account.TestCase
TestAccount.settings = settings(examples(25), stateful_step_count=25)


@pytest.mark.parametrize(("amount", "text"), [(0.1, "0.1"), (1e-7, "0.0000001"), (0.1 + 0.2, "0.30000000000000004")])
def test_float_is_taken_as_its_shortest_text(amount: float, text: str) -> None:
    """As people mean it: 0.1 is not the binary fraction next to it."""
    assert format_opg(parse_opg(amount)) == text
    assert SpendPolicy(total=amount).total_units == parse_opg(text)


@pytest.mark.parametrize("name", ["max_per_authorization", "total", "per_hour", "per_day"])
def test_amount_that_nothing_has_checked_is_an_error_of_ours(name: str) -> None:
    """`model_copy(update=…)` takes anything; a bare `ValueError` within a call would end as "Empty Response"."""
    policy = SpendPolicy().model_copy(update={name: 0.5})
    with pytest.raises(ConfigurationError, match=rf"SpendPolicy\.{name} is a float that nothing has checked"):
        new_budget(policy).policy.check(parse_requirements(REQUIREMENT), HOST)


@pytest.mark.parametrize("name", ["total", "per_hour", "per_day"])
def test_limit_below_one_authorization_says_so(name: str) -> None:
    """No waiting helps, and no other gateway."""
    budget = new_budget(SpendPolicy.of({name: "0.05"}))
    said = rf"One authorization needs 0\.1 OPG, expected at most 0\.05 OPG \(SpendPolicy\.{name}\): no call at all"
    with pytest.raises(BudgetExceededError, match=said + rf'.*Write SpendPolicy\({name}="0\.1"\) or more'):
        budget.hold(AMOUNT)


def test_refusal_of_the_cap_names_what_to_write() -> None:
    """The newest public gateway asks for 5 OPG, which the default allows; one base unit more is refused."""
    policy = SpendPolicy()
    policy.check(parse_requirements(REQUIREMENT | {"amount": str(5 * OPG)}), HOST)
    with pytest.raises(BudgetExceededError, match=r'write SpendPolicy\(max_per_authorization="6"\)'):
        policy.check(parse_requirements(REQUIREMENT | {"amount": str(6 * OPG)}), HOST)
