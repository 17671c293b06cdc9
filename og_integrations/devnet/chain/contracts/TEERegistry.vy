# pragma version ^0.4.1
"""
@title The TEERegistry of the devnet
@notice Lists enclaves in the form of the published contract; on the devnet anybody may register one.
"""

struct OHTTPConfig:
    keyId: uint8
    kemId: uint16
    kdfId: uint16
    aeadId: uint16
    publicKey: Bytes[64]
    keyConfig: Bytes[256]
    registeredAt: uint256

struct TEE:
    owner: address
    paymentAddress: address
    endpoint: String[256]
    publicKey: Bytes[600]
    tlsCertificate: Bytes[2048]
    pcrHash: bytes32
    teeType: uint8
    enabled: bool
    registeredAt: uint256
    lastHeartbeatAt: uint256
    ohttpConfig: OHTTPConfig

MAX_TEES: constant(uint256) = 16

ids: DynArray[bytes32, MAX_TEES]
tees: HashMap[bytes32, TEE]
active: HashMap[bytes32, bool]


@external
def register(tee: TEE):
    teeId: bytes32 = keccak256(tee.publicKey)
    if not self.active[teeId]:
        self.ids.append(teeId)
    self.tees[teeId] = tee
    self.active[teeId] = True


@external
def retire(teeId: bytes32):
    self.active[teeId] = False


@view
@external
def getActiveTEEs(teeType: uint8) -> DynArray[TEE, MAX_TEES]:
    found: DynArray[TEE, MAX_TEES] = []
    for teeId: bytes32 in self.ids:
        if self.active[teeId] and self.tees[teeId].enabled and self.tees[teeId].teeType == teeType:
            found.append(self.tees[teeId])
    return found


@view
@external
def getEnabledTEEs(teeType: uint8) -> DynArray[TEE, MAX_TEES]:
    found: DynArray[TEE, MAX_TEES] = []
    for teeId: bytes32 in self.ids:
        if self.tees[teeId].enabled and self.tees[teeId].teeType == teeType:
            found.append(self.tees[teeId])
    return found


@view
@external
def getTEEsByType(teeType: uint8) -> DynArray[bytes32, MAX_TEES]:
    found: DynArray[bytes32, MAX_TEES] = []
    for teeId: bytes32 in self.ids:
        if self.tees[teeId].teeType == teeType:
            found.append(teeId)
    return found


@view
@external
def getTEE(teeId: bytes32) -> TEE:
    return self.tees[teeId]


@view
@external
def isTEEActive(teeId: bytes32) -> bool:
    return self.active[teeId]


@view
@external
def isTEEEnabled(teeId: bytes32) -> bool:
    return self.tees[teeId].enabled
