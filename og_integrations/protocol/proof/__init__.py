"""
What proves that an answer comes from the enclave it claims to come from.
"""
