# pragma version ^0.4.1
"""
@title The x402 `upto` proxy of the devnet
@notice Written from the proxy's published interface: the facilitator named in the signed witness, and nobody
    else, moves at most the permitted amount to the signed payee.
"""

struct TokenPermissions:
    token: address
    amount: uint256

struct PermitTransferFrom:
    permitted: TokenPermissions
    nonce: uint256
    deadline: uint256

struct TransferDetails:
    to: address
    requestedAmount: uint256

struct Witness:
    to: address
    facilitator: address
    validAfter: uint256

interface SignatureTransfer:
    def permitWitnessTransferFrom(
        permit: PermitTransferFrom,
        details: TransferDetails,
        owner: address,
        witness: bytes32,
        witnessType: String[256],
        signature: Bytes[256],
    ): nonpayable

event Settled:
    pass

PERMIT2: constant(address) = 0x000000000022D473030F116dDEE9F6B43aC78BA3
WITNESS_TYPEHASH: constant(bytes32) = keccak256("Witness(address to,address facilitator,uint256 validAfter)")
WITNESS_TYPE: constant(String[256]) = "Witness witness)TokenPermissions(address token,uint256 amount)Witness(address to,address facilitator,uint256 validAfter)"


@external
def settle(permit: PermitTransferFrom, amount: uint256, owner: address, witness: Witness, signature: Bytes[256]):
    if msg.sender != witness.facilitator:
        raw_revert(method_id("UnauthorizedFacilitator()"))
    if amount == 0:
        raw_revert(method_id("InvalidAmount()"))
    if amount > permit.permitted.amount:
        raw_revert(method_id("AmountExceedsPermitted()"))
    if owner == empty(address):
        raw_revert(method_id("InvalidOwner()"))
    if witness.to == empty(address):
        raw_revert(method_id("InvalidDestination()"))
    if block.timestamp < witness.validAfter:
        raw_revert(method_id("PaymentTooEarly()"))
    digest: bytes32 = keccak256(abi_encode(WITNESS_TYPEHASH, witness.to, witness.facilitator, witness.validAfter))
    details: TransferDetails = TransferDetails(to=witness.to, requestedAmount=amount)
    extcall SignatureTransfer(PERMIT2).permitWitnessTransferFrom(permit, details, owner, digest, WITNESS_TYPE, signature)
    log Settled()
