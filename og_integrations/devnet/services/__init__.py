"""
These are the services beside the network: the model hub over a folder, its login, twins, a proxy for fixed hosts.

```python
with Devnet() as net:
    services = net.open_services()  # services.hub, services.identity, services.twins
    ...  # net.environment() names them; services.proxy_environment(folder) for programs whose hosts are fixed
```

| file | what it holds |
| --- | --- |
| `_services` | all of them on one devnet, and the variables by which programs find them |
| `_hub`, `_identity` | the model hub, and the service that it logs in at |
| `_twins` | personas that answer |
| `_proxy` | a loopback proxy that takes fixed hosts here |
| `_faults` | what they can lie about or break |
| `_calls` | how calls are recorded, and meet the faults |
"""

from og_integrations.devnet.services._faults import SERVICE_FAULTS, ServiceFault
from og_integrations.devnet.services._services import Services

__all__ = ["SERVICE_FAULTS", "ServiceFault", "Services"]
