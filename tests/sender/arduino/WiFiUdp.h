// arduino-esp32's WiFiUDP (NetworkUDP), as far as it matters on the air: a buffer of 1460 bytes, and a datagram whenever it is full.
#pragma once
#include "WiFi.h"

class WiFiUDP {
  static constexpr size_t ROOM = 1460;
  uint8_t buffer[ROOM];
  size_t held = 0;
  sockaddr_in to{};
  int fd = socket(AF_INET, SOCK_DGRAM, 0);

public:
  void begin(uint16_t) {}

  int beginPacket(const IPAddress &ip, uint16_t port) {
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    memcpy(&to.sin_addr, ip.part, 4);
    held = 0;
    return 1;
  }

  size_t write(const uint8_t *bytes, size_t length) {
    for (size_t i = 0; i < length; i++) {
      if (held == ROOM) {
        endPacket();
        held = 0;
      }
      buffer[held++] = bytes[i];
    }
    return length;
  }

  int endPacket() {
    const auto sent = sendto(fd, buffer, held, 0, (sockaddr *)&to, sizeof to);
    if (sent < 0) perror("sendto");
    return sent >= 0;
  }
};
