# pragma version ^0.4.2
"""
@title The scheduler of the devnet
@notice Keeps tasks; the devnet's clock calls run() of those that are due. One task per user and contract.
"""

struct Task:
    user: address
    contractAddress: address
    endTime: uint256
    frequency: uint256

event TaskRegistered:
    user: indexed(address)
    contractAddress: indexed(address)
    endTime: uint256
    frequency: uint256

event TaskUpdated:
    user: indexed(address)
    contractAddress: indexed(address)
    endTime: uint256
    frequency: uint256

event TaskStopped:
    user: indexed(address)
    contractAddress: indexed(address)

taskIds: public(DynArray[bytes32, 256])
tasks: public(HashMap[bytes32, Task])


@external
def registerTask(contractAddress: address, endTime: uint256, frequency: uint256):
    assert contractAddress.is_contract, "not a contract"
    assert endTime > block.timestamp, "end time is in the past"
    assert frequency > 0, "frequency must be positive"
    id: bytes32 = self._id(msg.sender, contractAddress)
    assert self.tasks[id].user == empty(address), "task exists"
    self.taskIds.append(id)
    self.tasks[id] = Task(user=msg.sender, contractAddress=contractAddress, endTime=endTime, frequency=frequency)
    log TaskRegistered(user=msg.sender, contractAddress=contractAddress, endTime=endTime, frequency=frequency)


@external
def updateTask(contractAddress: address, endTime: uint256, frequency: uint256):
    assert frequency > 0, "frequency must be positive"
    id: bytes32 = self._id(msg.sender, contractAddress)
    assert self.tasks[id].user == msg.sender, "no such task"
    self.tasks[id].endTime = endTime
    self.tasks[id].frequency = frequency
    log TaskUpdated(user=msg.sender, contractAddress=contractAddress, endTime=endTime, frequency=frequency)


@external
def stopTask(contractAddress: address):
    id: bytes32 = self._id(msg.sender, contractAddress)
    assert self.tasks[id].user == msg.sender, "no such task"
    self.tasks[id] = empty(Task)
    kept: DynArray[bytes32, 256] = []
    for other: bytes32 in self.taskIds:
        if other != id:
            kept.append(other)
    self.taskIds = kept
    log TaskStopped(user=msg.sender, contractAddress=contractAddress)


@external
@view
def getAllTasks() -> DynArray[Task, 256]:
    found: DynArray[Task, 256] = []
    for id: bytes32 in self.taskIds:
        found.append(self.tasks[id])
    return found


@internal
@pure
def _id(user: address, contractAddress: address) -> bytes32:
    return keccak256(abi_encode(user, contractAddress))
