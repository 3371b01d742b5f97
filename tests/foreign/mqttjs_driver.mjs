// Drives MQTT.js; README.md tells the commands and the answers.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

import mqtt from "mqtt";

const PROTOCOLS = {
    "3.1": { protocolId: "MQIsdp", protocolVersion: 3 },
    "3.1.1": { protocolId: "MQTT", protocolVersion: 4 },
    5: { protocolId: "MQTT", protocolVersion: 5 },
};

let client = null;
// MQTT.js does not look at the Receive Maximum of the broker, so that its users have to: messages
// that wait until fewer are unacknowledged.
let inflight = 20;
let unacknowledged = 0;
let waiting = [];
// While it sends again what was unacknowledged, MQTT.js drops what it is given if the connection is
// lost again; "connect" comes after that.
let isConnected = false;

function tell(event, what = {}) {
    process.stdout.write(JSON.stringify({ event, ...what }) + "\n");
}

function failed(what, error) {
    tell("failed", { what: `${what}: ${error.message}` });
}

// MQTT.js takes user properties as an object, with a list where a name is there twice.
function userProperties(pairs) {
    const properties = {};
    for (const [name, value] of pairs) {
        if (name in properties) {
            properties[name] = [properties[name], value].flat();
        } else {
            properties[name] = value;
        }
    }
    return properties;
}

function pairs(properties) {
    return Object.entries(properties ?? {}).flatMap(([name, values]) =>
        [values].flat().map((value) => [name, value]),
    );
}

function willOf(will, is5) {
    const properties = {};
    if (will.delay_s !== undefined) properties.willDelayInterval = will.delay_s;
    if (will.user !== undefined) properties.userProperties = userProperties(will.user);
    return {
        topic: will.topic,
        payload: will.payload,
        qos: will.qos,
        retain: will.retain,
        ...(is5 && { properties }),
    };
}

function tlsOf({ ca, cert, key }) {
    return {
        ca: readFileSync(ca),
        ...(cert && { cert: readFileSync(cert), key: readFileSync(key) }),
    };
}

function connectProperties(command) {
    const properties = {};
    if (command.expiry_s !== undefined) properties.sessionExpiryInterval = command.expiry_s;
    if (command.alias_maximum !== undefined) properties.topicAliasMaximum = command.alias_maximum;
    return properties;
}

function publishWaiting() {
    while (isConnected && waiting.length > 0 && unacknowledged < inflight) {
        const { topic, payload, options, tag } = waiting.shift();
        unacknowledged += 1;
        client.publish(topic, payload, options, (error) => {
            unacknowledged -= 1;
            if (error) failed("publish", error);
            else tell("published", { tag });
            publishWaiting();
        });
    }
}

const commands = {
    connect(command) {
        inflight = command.inflight ?? 20;
        unacknowledged = 0;
        waiting = [];
        const is5 = command.version === "5";
        const connection = mqtt.connect({
            ...PROTOCOLS[command.version],
            protocol: command.tls ? "mqtts" : "mqtt",
            host: command.host ?? "127.0.0.1",
            port: command.port,
            clientId: command.client_id,
            clean: command.clean ?? true,
            reconnectPeriod: command.reconnect ? 100 : 0,
            // What comes from the session before this one subscribes to anything is for it, too.
            resubscribe: false,
            username: command.user_name,
            password: command.password,
            ...(is5 && { properties: connectProperties(command) }),
            ...(command.will && { will: willOf(command.will, is5) }),
            ...(command.tls && tlsOf(command.tls)),
        });
        client = connection;
        connection.on("connect", ({ sessionPresent }) => {
            isConnected = true;
            tell("connected", { session_present: sessionPresent });
            publishWaiting();
        });
        connection.on("error", (error) => {
            if (!command.reconnect) tell("refused", { reason: error.message });
        });
        connection.on("close", () => {
            if (client !== connection) return;
            isConnected = false;
            tell("lost");
        });
        connection.on("message", (topic, payload, packet) => {
            tell("message", {
                topic,
                payload: payload.toString(),
                qos: packet.qos,
                retain: packet.retain,
                expiry_s: packet.properties?.messageExpiryInterval ?? null,
                user: pairs(packet.properties?.userProperties),
            });
        });
    },

    subscribe({ filter, qos }) {
        client.subscribe(filter, { qos }, (error, granted, packet) => {
            if (error) failed("subscribe", error);
            else tell("subscribed", { codes: packet?.granted ?? granted.map((one) => one.qos) });
        });
    },

    unsubscribe({ filter }) {
        client.unsubscribe(filter, {}, (error) => {
            if (error) failed("unsubscribe", error);
            else tell("unsubscribed");
        });
    },

    publish({ topic, payload, qos, retain, tag, expiry_s, user, alias }) {
        const properties = {};
        if (expiry_s !== undefined) properties.messageExpiryInterval = expiry_s;
        if (user !== undefined) properties.userProperties = userProperties(user);
        if (alias !== undefined) properties.topicAlias = alias;
        waiting.push({ topic, payload, options: { qos, retain, properties }, tag });
        publishWaiting();
    },

    disconnect() {
        const connection = client;
        client = null;
        isConnected = false;
        if (connection === null) tell("disconnected");
        else connection.end(false, {}, () => tell("disconnected"));
    },
};

createInterface({ input: process.stdin })
    .on("line", (line) => {
        const command = JSON.parse(line);
        try {
            commands[command.do](command);
        } catch (error) {
            failed(command.do, error);
        }
    })
    // Without a word to the broker, as a process that dies.
    .on("close", () => process.exit(0));
