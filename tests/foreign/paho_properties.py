"""Properties of MQTT 5.0 in paho-mqtt, which aiomqtt takes as well."""
from paho.mqtt.properties import Properties

# Keys of our commands, and what paho calls them.
NAMES = {
    "expiry_s": "MessageExpiryInterval",
    "alias": "TopicAlias",
    "alias_maximum": "TopicAliasMaximum",
    "delay_s": "WillDelayInterval",
    "user": "UserProperty",
}


def properties_of(packet_type, command):
    properties = Properties(packet_type)
    if packet_type == 1 and "expiry_s" in command:
        properties.SessionExpiryInterval = command["expiry_s"]
        command = {key: value for key, value in command.items() if key != "expiry_s"}
    for key, name in NAMES.items():
        if key in command:
            value = command[key]
            if key == "user":
                value = [tuple(pair) for pair in value]
            setattr(properties, name, value)
    return properties


def received_properties(properties):
    if properties is None:
        return {}
    return {
        "expiry_s": getattr(properties, "MessageExpiryInterval", None),
        "user": getattr(properties, "UserProperty", []),
    }
