"""
This package is the kit that the adapters share; it imports no framework.

An adapter maps its framework's classes to requests and answers back; every rule about options, tools,
policies, copies and traces is here, so that both frameworks keep the same ones.

| file | what it holds |
| --- | --- |
| `_model` | the fields of a model, the engines that its copies share, its wallet, and how it is copied and stored |
| `_arguments` | names and values of arguments: ours, those of others, and those that gateways ignore |
| `_asking` | one question, the second call that it may take, and what is handed on beside the answer |
| `_requests` | choices of tools, calls of a history, and which attachments reach which provider |
| `_policies` | policies and networks as plain JSON and in pickles, never laxer than they were |
"""
