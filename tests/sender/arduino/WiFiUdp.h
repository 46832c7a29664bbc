// arduino-esp32's WiFiUDP (NetworkUDP), as far as it matters on the air: a buffer of 1460 bytes, and a datagram whenever it is full.
// With LOSE="FROM TO" in the environment one in a hundred of the datagrams of these numbers is lost on the way, and said.
#pragma once
#include "WiFi.h"

class WiFiUDP {
  static constexpr size_t ROOM = 1460;
  uint8_t buffer[ROOM];
  size_t held = 0;
  sockaddr_in to{};
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  unsigned sent = 0, from = 0, until = 0;
  uint32_t dice = 1;

  bool is_lost() {
    dice = dice * 1664525 + 1013904223;
    return sent >= from && sent < until && dice >> 16 < 65536 / 100;
  }

public:
  void begin(uint16_t) {
    if (const char *lose = getenv("LOSE")) sscanf(lose, "%u %u", &from, &until);
  }

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
    if (is_lost()) {
      printf("lost %u\n", sent++);
      return 1;
    }
    sent++;
    const auto done = sendto(fd, buffer, held, 0, (sockaddr *)&to, sizeof to);
    if (done < 0) perror("sendto");
    return done >= 0;
  }
};
